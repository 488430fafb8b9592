"""A store in an S3 bucket: conditional puts for what must be written once, files in parts, and read through the cache."""

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from infra.store import s3_files
from infra.store.cache import Cache
from infra.store.errors import DamagedError, InputError, StoreError
from infra.store.manifest import known_sha256
from infra.store.probe import find_fault, remembered_fault
from infra.store.protocol import Entry, Versioned, checked_name
from infra.store.s3_client import connect, errors, repeat, told

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

_HIDDEN: Final = ".store"  # the probe's objects; never listed


class S3Store:
    """Objects under one prefix of a bucket. Pickles as its URL: a client never travels between processes."""

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self.bucket, self.prefix = bucket, prefix

    @classmethod
    def at(cls, url: str) -> Self:
        """That of an s3:// URL. Raises InputError when it names no bucket."""
        parts = urlsplit(url)
        prefix = parts.path.strip("/")
        if not parts.netloc or "//" in parts.path or parts.query or parts.fragment:
            raise InputError("this names no place in S3", where=url, mend="Write s3://BUCKET or s3://BUCKET/PREFIX.")
        return cls(parts.netloc, prefix)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.bucket, self.prefix)

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def read(self, name: str) -> bytes:
        return self.read_versioned(name).data

    def read_versioned(self, name: str) -> Versioned:
        def read() -> tuple[Versioned, str]:
            found = self._client.get_object(Bucket=self.bucket, Key=self._key(name))
            version = found["ETag"].strip('"')  # If-Match of older Ceph knows no quotes
            return Versioned(found["Body"].read(), version), found["Metadata"].get("sha256", "")

        with self._errors(name):
            found, sha256 = repeat(read)
        if sha256 and hashlib.sha256(found.data).hexdigest() != sha256:
            raise DamagedError(
                "damaged in the store: what arrives is not what was written",
                where=self.uri(name),
                mend="Put the object back from a copy.",
            )
        return found

    def write(self, name: str, data: bytes) -> None:
        with self._errors(name):
            self._put(name, data)

    def write_if_absent(self, name: str, data: bytes) -> bool:
        self._check_conditional()
        with self._errors(name):
            return self._put(name, data, IfNoneMatch="*")

    def replace(self, name: str, data: bytes, version: str) -> bool:
        self._check_conditional()
        with self._errors(name):
            return self._put(name, data, IfMatch=version)

    def put_file(self, name: str, path: Path) -> None:
        sha256 = known_sha256(path)
        with self._errors(name):
            etag = s3_files.upload(self._client, self.bucket, self._key(name), path, {"sha256": sha256})
            self._cache.keep(self._id, self._key(name), etag, sha256, path)

    def get_file(self, name: str, *, sha256: str = "") -> Path:
        key = self._key(name)
        with self._errors(name):
            if sha256 and (path := self._cache.find(self._id, key, sha256=sha256)):
                return path
            found = repeat(lambda: self._client.head_object(Bucket=self.bucket, Key=key))
            etag, size = found["ETag"], found["ContentLength"]
            return self._cache.find(self._id, key, version=etag) or self._cache.fetch(
                self._id,
                key,
                etag,
                size,
                found["Metadata"].get("sha256", ""),
                lambda path: s3_files.download(self._client, self.bucket, key, path, etag=etag, size=size),
            )

    def forget(self, name: str) -> bool:
        with self._errors(name):
            return self._cache.drop(self._id, self._key(name))

    def exists(self, name: str) -> bool:
        with self._errors(name):
            return self._head(name) is not None

    def list(self, prefix: str = "") -> Iterator[Entry]:
        top = f"{self._key(prefix) if prefix else self.prefix}/".lstrip("/")
        with self._errors(prefix):
            last = ""
            while True:
                page = repeat(lambda: self._client.list_objects_v2(Bucket=self.bucket, Prefix=top, StartAfter=last))  # noqa: B023
                for found in page.get("Contents", ()):
                    name = found["Key"][len(self._root) :]
                    if not name.startswith(f"{_HIDDEN}/") and not name.endswith("/"):  # consoles make objects for folders
                        yield Entry(name, found["Size"], found["LastModified"].timestamp())
                    last = found["Key"]
                if not page["IsTruncated"]:
                    break

    def delete(self, name: str) -> None:
        with self._errors(name):
            repeat(lambda: self._client.delete_object(Bucket=self.bucket, Key=self._key(name)))
            self._cache.drop(self._id, self._key(name))

    def uri(self, name: str) -> str:
        return f"{self.url}/{name}".rstrip("/")

    def check_writable(self) -> None:
        name = f"{_HIDDEN}/{uuid.uuid4().hex}"
        self.write(name, b"x")
        self.delete(name)
        self._check_conditional()

    def leftovers(self) -> Iterator[Entry]:
        with self._errors(""):
            for page in self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=self._root):
                for found in page.get("Uploads", ()):
                    name = f"{found['Key'][len(self._root) :]}?uploadId={found['UploadId']}"
                    yield Entry(name, 0, found["Initiated"].timestamp())

    def discard(self, leftover: Entry) -> None:
        from botocore.exceptions import ClientError  # boto3 is there by now

        name, _, number = leftover.name.partition("?uploadId=")
        with self._errors(name):
            try:
                self._client.abort_multipart_upload(Bucket=self.bucket, Key=self._key(name), UploadId=number)
            except ClientError as error:
                if told(error)[1] != "NoSuchUpload":  # its writer has ended it meanwhile
                    raise

    @property
    def _client(self) -> "S3Client":
        return connect()

    @property
    def _cache(self) -> Cache:
        return Cache.here()

    @cached_property
    def _root(self) -> str:
        return f"{self.prefix}/" if self.prefix else ""

    @property
    def _id(self) -> str:
        """The cache's name for this bucket: readable, and another one at another endpoint."""
        return f"{self.bucket}-{hashlib.sha256(self._client.meta.endpoint_url.encode()).hexdigest()[:12]}"

    def _key(self, name: str) -> str:
        return self._root + checked_name(name)

    def _head(self, name: str) -> "HeadObjectOutputTypeDef | None":
        from botocore.exceptions import ClientError  # boto3 is there by now

        try:
            return repeat(lambda: self._client.head_object(Bucket=self.bucket, Key=self._key(name)))
        except ClientError as error:
            if told(error)[0] == 404:
                return None
            raise

    def _put(self, name: str, data: bytes, **condition: Any) -> bool:
        """Whether it was written: not, when the condition does not hold."""
        from botocore.exceptions import ClientError  # boto3 is there by now

        writer = uuid.uuid4().hex  # tells our own object from another's with the same content
        facts = {"sha256": hashlib.sha256(data).hexdigest(), "writer": writer}
        sent = 0

        def put() -> None:
            nonlocal sent
            sent += 1
            self._client.put_object(
                Bucket=self.bucket, Key=self._key(name), Body=data, ContentMD5=s3_files.md5(data), Metadata=facts, **condition
            )

        try:
            repeat(put)
        except ClientError as error:
            status, code = told(error)
            if condition and status == 412:
                found = self._head(name) if sent > 1 else None  # the first one may have written, and its answer was lost
                return found is not None and found["Metadata"].get("writer") == writer
            if condition and status == 404 and code != "NoSuchBucket":  # what was to be replaced is gone
                return False
            raise
        return True

    def _check_conditional(self) -> None:
        if fault := remembered_fault(self._cache.note(self._id, "probe"), self.find_conditional_fault):
            raise StoreError(
                f"{fault}: leases and the ledger cannot be kept there",
                where=self.url,
                mend="Set SLIPWAY_STORE to a bucket of a server whose conditional puts hold (AWS S3, Ceph RGW), or to a folder.",
            )

    def find_conditional_fault(self) -> str:
        """What the probe finds wrong with this server's conditional puts, now; "" when nothing is."""
        with self._errors(_HIDDEN):
            return find_fault(_Puts(self), f"{_HIDDEN}/probe")

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        with errors(self.bucket, self.uri(name)):
            yield


class _Puts:
    """The conditional puts of a store, for the probe alone."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    def create(self, name: str, data: bytes) -> bool:
        return self._known("If-None-Match", name, data, IfNoneMatch="*")

    def replace(self, name: str, data: bytes, version: str) -> bool:
        return self._known("If-Match", name, data, IfMatch=version)

    def read(self, name: str) -> Versioned:
        return self._store.read_versioned(name)

    def delete(self, name: str) -> None:
        self._store.delete(name)

    def _known(self, header: str, name: str, data: bytes, **condition: Any) -> bool:
        from botocore.exceptions import ClientError  # boto3 is there by now

        try:
            return self._store._put(name, data, **condition)
        except ClientError as error:
            if told(error)[0] in {400, 501}:
                raise NotImplementedError(f"conditional put ({header})") from None
            raise
