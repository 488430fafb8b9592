"""Files to S3 and back: in parts where they are large, several at a time, each part repeated alone when it fails."""

import base64
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict, TypeVar

from infra.store.s3_client import repeat, told

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef


class _Upload(TypedDict):
    Bucket: str
    Key: str
    UploadId: str


T = TypeVar("T")
PART: Final = 16 << 20  # bytes; S3 takes none below 5 MiB but the last
_MOST_PARTS: Final = 10_000
_AT_ONCE: Final = 4  # so many parts are in memory


def md5(data: bytes) -> str:
    """As the header Content-MD5 wants it: every S3 server refuses a body that is not what it says."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def upload(client: "S3Client", bucket: str, key: str, path: Path, facts: Mapping[str, str]) -> str:
    """Makes a local file an object with these facts (its user metadata) and returns its ETag. Half of it is never seen."""
    size = path.stat().st_size
    if size <= PART:
        data = path.read_bytes()
        return repeat(lambda: client.put_object(Bucket=bucket, Key=key, Body=data, ContentMD5=md5(data), Metadata=facts))["ETag"]
    part = max(PART, -(-size // _MOST_PARTS))
    parts_of: _Upload = {"Bucket": bucket, "Key": key, "UploadId": ""}
    parts_of["UploadId"] = repeat(lambda: client.create_multipart_upload(Bucket=bucket, Key=key, Metadata=facts))["UploadId"]

    def send(index: int) -> "CompletedPartTypeDef":
        with path.open("rb") as file:
            file.seek(index * part)
            data = file.read(part)
        done = repeat(lambda: client.upload_part(**parts_of, PartNumber=index + 1, Body=data, ContentMD5=md5(data)))
        return {"PartNumber": index + 1, "ETag": done["ETag"]}

    try:
        parts = _each(send, range(-(-size // part)))
        return _complete(client, parts_of, parts, facts)
    except BaseException:
        with suppress(Exception):  # what is left where this fails, or by a killed process, gc takes away
            client.abort_multipart_upload(**parts_of)
        raise


def download(client: "S3Client", bucket: str, key: str, path: Path, *, etag: str, size: int) -> None:
    """Writes the object, as long as it is still this version of it, to `path`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def receive(start: int) -> None:
        end = min(start + PART, size)

        def read() -> bytes:
            ranged = client.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", IfMatch=etag)
            return ranged["Body"].read()

        data = memoryview(repeat(read))
        written = 0
        while written < len(data):
            written += os.pwrite(descriptor, data[written:], start + written)

    try:
        _each(receive, range(0, size, PART))
    finally:
        os.close(descriptor)


def _complete(client: "S3Client", parts_of: "_Upload", parts: "list[CompletedPartTypeDef]", facts: Mapping[str, str]) -> str:
    from botocore.exceptions import ClientError  # boto3 is there by now

    try:
        return repeat(lambda: client.complete_multipart_upload(**parts_of, MultipartUpload={"Parts": parts}))["ETag"]
    except ClientError as error:
        if told(error)[1] != "NoSuchUpload":
            raise
        made = client.head_object(Bucket=parts_of["Bucket"], Key=parts_of["Key"])  # an earlier sending did it, unheard
        if made["Metadata"] != facts:
            raise
        return made["ETag"]


def _each(work: Callable[[int], T], items: Sequence[int]) -> list[T]:
    """`work` on each, several at once, in order; the first that fails ends it."""
    if len(items) <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            return list(pool.map(work, items))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
