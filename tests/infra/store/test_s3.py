"""The store on S3: large files, damage on the way, errors that say what to mend. On real servers."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.store import local_file, open_store
from infra.store.errors import DamagedError, InputError, NotFoundError, StoreError
from infra.store.manifest import find, load, publish, sha256
from infra.store.s3 import S3Store
from infra.store.s3_client import connect
from infra.store.s3_files import PART
from tests.s3_server import S3Server

MakeStore = Callable[[str], S3Store]
LARGE = 2 * PART + 12_345


@pytest.fixture
def bulk(make_store: MakeStore) -> S3Store:
    return make_store("swift")


@pytest.fixture(params=["swift", "ceph"])
def s3(request: pytest.FixtureRequest, make_store: MakeStore) -> S3Store:
    return make_store(request.param)


def large_file(path: Path, size: int = LARGE) -> str:
    """Random bytes; returns their sha256."""
    path.write_bytes(os.urandom(size))
    return sha256(path)


def test_a_large_file_comes_back_whole_and_is_fetched_once(s3: S3Store, tmp_path: Path) -> None:
    written = large_file(tmp_path / "weights")
    s3.put_file("runs/r/weights", tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
    assert s3.forget("runs/r/weights")
    first = s3.get_file("runs/r/weights")
    assert sha256(first) == written
    assert s3.get_file("runs/r/weights") == first
    assert list(s3.leftovers()) == []


def test_a_large_file_that_is_written_is_read_where_it_was_written_without_the_network(bulk: S3Store, tmp_path: Path) -> None:
    written = large_file(tmp_path / "shard", 1_000)
    bulk.put_file("datasets/d/1/shard", tmp_path / "shard")
    connect().delete_object(Bucket=bulk.bucket, Key=f"{bulk.prefix}/datasets/d/1/shard")
    assert sha256(bulk.get_file("datasets/d/1/shard", sha256=written)) == written
    with pytest.raises(NotFoundError):
        bulk.get_file("datasets/d/1/shard")


def test_an_upload_that_fails_in_the_middle_leaves_nothing(s3: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large_file(tmp_path / "weights")
    monkeypatch.setattr("infra.store.s3_files.md5", lambda data: "AAAAAAAAAAAAAAAAAAAAAA==" if len(data) < PART else None)
    monkeypatch.setattr("infra.store.s3_client._PAUSE", 0.0)
    with pytest.raises(StoreError):
        s3.put_file("runs/r/weights", tmp_path / "weights")
    assert (tmp_path / "weights").exists()
    assert not s3.exists("runs/r/weights")
    assert list(s3.leftovers()) == []


def test_the_parts_of_a_killed_upload_are_found_and_discarded(s3: S3Store) -> None:
    key = f"{s3.prefix}/runs/r/weights"
    connect().create_multipart_upload(Bucket=s3.bucket, Key=key)
    (left,) = s3.leftovers()
    assert left.name.startswith("runs/r/weights")
    assert abs(left.modified - time.time()) < 3_600
    s3.discard(left)
    s3.discard(left)
    assert list(s3.leftovers()) == []


def test_an_upload_whose_last_answer_was_lost_is_known_as_done(
    s3: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = large_file(tmp_path / "weights")
    complete, asked = connect().complete_multipart_upload, list[object]()

    def losing(**request: object) -> object:
        answer = complete(**request)  # type: ignore[arg-type]
        asked.append(request)
        if len(asked) == 1:
            from botocore.exceptions import ConnectionClosedError

            raise ConnectionClosedError(endpoint_url="here")
        return answer

    monkeypatch.setattr(connect(), "complete_multipart_upload", losing)
    s3.put_file("runs/r/weights", tmp_path / "weights")
    s3.forget("runs/r/weights")
    assert sha256(s3.get_file("runs/r/weights")) == written


def test_a_body_that_the_server_did_not_get_as_it_was_sent_is_refused(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.store.s3_files.md5", lambda data: "AAAAAAAAAAAAAAAAAAAAAA==")
    monkeypatch.setattr("infra.store.s3_client._PAUSE", 0.0)
    with pytest.raises(StoreError, match="BadDigest|InvalidDigest|400"):
        s3.write("stages/a.json", b"{}")
    assert not s3.exists("stages/a.json")


def test_what_the_server_gives_back_otherwise_than_it_was_written_is_called_damaged(bulk: S3Store, tmp_path: Path) -> None:
    key = f"{bulk.prefix}/datasets/d/1/shard"
    connect().put_object(Bucket=bulk.bucket, Key=key, Body=b"damaged", Metadata={"sha256": "0" * 64})
    with pytest.raises(DamagedError, match="d/1/shard"):
        bulk.get_file("datasets/d/1/shard")
    with pytest.raises(DamagedError, match="d/1/shard"):
        bulk.read("datasets/d/1/shard")


def test_a_damaged_copy_is_fetched_again_before_anything_is_called_damaged(bulk: S3Store, tmp_path: Path) -> None:
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing/shard").write_bytes(b"tokens")
    publish(bulk, "datasets/d/1", tmp_path / "thing", {})
    thing = load(bulk, "datasets/d/1")
    path = thing.path("shard")
    stat = path.stat()
    path.write_bytes(b"tokenS")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert thing.path("shard").read_bytes() == b"tokens"
    path.write_bytes(b"tokenX")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # by size and time it looks whole
    read = "import sys; from infra.store import open_store; from infra.store.manifest import load; "
    read += "print(load(open_store(sys.argv[1]), 'datasets/d/1').path('shard').read_text())"
    done = subprocess.run([sys.executable, "-c", read, bulk.url], capture_output=True, text=True, check=True)
    assert done.stdout == "tokens\n", "another process reads through what it did not make"


def test_a_thing_is_a_folder_with_its_manifest_on_this_machine_too(bulk: S3Store, tmp_path: Path) -> None:
    (tmp_path / "package/deep").mkdir(parents=True)
    (tmp_path / "package/config.json").write_text("{}")
    (tmp_path / "package/deep/more").write_text("more")
    made = publish(bulk, "runs/r/artifacts/package", tmp_path / "package", {})
    folder = load(bulk, "runs/r/artifacts/package").folder()
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {*made.files, "manifest.json"}
    local = find(open_store(str(folder.parent)), folder.name)
    assert local is not None
    assert local.version == made.version
    assert local_file(made.place("deep/more")).read_text() == "more"


def test_a_store_beside_another_in_one_bucket_sees_nothing_of_it(bulk: S3Store) -> None:
    whole = S3Store(bulk.bucket)
    bulk.write("a", b"inside")
    assert open_store(f"{bulk.url}/").read("a") == b"inside"
    assert whole.read(f"{bulk.prefix}/a") == b"inside"
    assert list(S3Store(bulk.bucket, f"{bulk.prefix}-other").list()) == []
    assert f"{bulk.prefix}/a" in [entry.name for entry in whole.list()]


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix", "s3://bucket//a", "s3://bucket/a?b"])
def test_an_address_that_names_no_place_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="s3://BUCKET"):
        open_store(url)


def test_a_missing_bucket_is_named_with_the_command_that_makes_it(s3: S3Store) -> None:
    store = S3Store("no-such-bucket", "a")
    for ask in (lambda: store.read("x"), lambda: store.write("x", b""), lambda: list(store.list()), store.check_writable):
        with pytest.raises(StoreError, match="(?s)there is no bucket no-such-bucket.*aws s3 mb") as caught:
            ask()
        assert not isinstance(caught.value, NotFoundError)


@pytest.mark.parametrize(
    ("variables", "says", "mend"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "does not take the credentials|denies it", "AWS_SECRET_ACCESS_KEY|leave"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials", "AWS_ACCESS_KEY_ID"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot be reached", "AWS_ENDPOINT_URL"),
        ({"AWS_ENDPOINT_URL": "https://127.0.0.1:9"}, "cannot be reached", "AWS_ENDPOINT_URL"),
        ({"AWS_ENDPOINT_URL": "nonsense"}, "Invalid endpoint", "AWS_ENDPOINT_URL"),
        ({"AWS_PROFILE": "nobody"}, "nobody", "AWS_PROFILE"),
    ],
)
def test_a_wrong_setting_is_said_in_a_sentence_with_its_mend(
    ceph: S3Server, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str, mend: str
) -> None:
    store = make_store("ceph")
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    began = time.monotonic()
    with pytest.raises(StoreError, match=says) as caught:
        store.write("x", b"")
    assert time.monotonic() - began < 15
    assert caught.value.exit_code == 2
    assert any(part in caught.value.mend for part in mend.split("|"))
    assert "\n" not in caught.value.what


def test_a_server_that_comes_back_is_waited_for(bulk: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    bulk.write("a", b"x")
    client, asked = connect(), []

    def flaky(**request: object) -> None:
        asked.append(request)
        if len(asked) < 3:
            from botocore.exceptions import EndpointConnectionError

            raise EndpointConnectionError(endpoint_url="here")
        client.put_object(**request)  # type: ignore[arg-type]

    class Flaky:
        put_object = staticmethod(flaky)
        meta = client.meta

    monkeypatch.setattr("infra.store.s3.connect", Flaky)
    bulk.write("b", b"y")
    monkeypatch.undo()
    assert len(asked) == 3


def test_a_folder_user_does_not_load_boto3() -> None:
    loads = "import sys, infra.store, infra.settings; print([name for name in sys.modules if name in ('boto3', 'botocore')])"
    done = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_lease_whose_answer_was_lost_is_known_as_ours(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first sending writes, its answer is lost, the second is refused by the server: it is still we who wrote."""
    store = make_store("ceph")
    store.check_writable()
    client = connect()
    lost: list[object] = []

    class Losing:
        meta = client.meta
        head_object = staticmethod(client.head_object)

        @staticmethod
        def put_object(**request: object) -> None:
            client.put_object(**request)  # type: ignore[arg-type]
            if not lost:
                lost.append(request)
                from botocore.exceptions import ConnectionClosedError

                raise ConnectionClosedError(endpoint_url="here")

    with monkeypatch.context() as patched:
        patched.setattr("infra.store.s3.connect", Losing)
        assert store.write_if_absent("leases/a.json", b"ours")
        assert not store.write_if_absent("leases/a.json", b"theirs")
        lost.clear()
        version = store_version(client, store, "leases/a.json")
        assert store.replace("leases/a.json", b"newer", version)
        assert not store.replace("leases/a.json", b"late", version)
    assert store.read("leases/a.json") == b"newer"


def store_version(client: object, store: S3Store, name: str) -> str:
    found = connect().head_object(Bucket=store.bucket, Key=f"{store.prefix}/{name}")
    return found["ETag"].strip('"')


def test_names_of_any_spelling_are_kept(bulk: S3Store) -> None:
    name = f"documents/{uuid.uuid4().hex}/Größe & +%20 #1 ~?.json"
    bulk.write(name, b"x")
    assert bulk.read(name) == b"x"
    assert [entry.name for entry in bulk.list("documents")] == [name]
