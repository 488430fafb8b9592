"""The cache: fetched once by many, never half, room is made by what nobody uses."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.store.cache import Cache
from infra.store.errors import DamagedError, InputError, StoreError
from infra.store.manifest import sha256

KB = 1_000
USE = """
import sys
from pathlib import Path
from infra.store.cache import Cache
cache = Cache(Path(sys.argv[1]), 10**9)
print(cache.find("bucket", sys.argv[2], version="v"), flush=True)
sys.stdin.read()
"""


class Remote:
    """Files as a store would send them. Counts what is asked of it."""

    def __init__(self, size: int = KB) -> None:
        self.content, self.asked, self.lock = os.urandom(size), 0, threading.Lock()

    def download(self, path: Path) -> None:
        with self.lock:
            self.asked += 1
        path.write_bytes(self.content)

    def into(self, cache: Cache, name: str, *, sha: str = "") -> Path:
        return cache.fetch("bucket", name, "v", len(self.content), sha, self.download)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 10 * KB)


def there(cache: Cache) -> set[str]:
    files = cache.folder / "bucket/files"
    return {path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file()}


def unused(cache: Cache, *names: str, size: int = 4 * KB) -> None:
    """Files that another process fetched, one after the other, and that ended since."""
    fetch = """
import os, sys, time
from pathlib import Path
from infra.store.cache import Cache
cache, size = Cache(Path(sys.argv[1]), 10**9), int(sys.argv[2])
for name in sys.argv[3:]:
    cache.fetch("bucket", name, "v", size, "", lambda path: path.write_bytes(os.urandom(size)))
    time.sleep(0.02)
"""
    subprocess.run([sys.executable, "-c", fetch, str(cache.folder), str(size), *names], check=True)


def test_what_was_fetched_is_found_by_its_version_and_by_its_content(cache: Cache) -> None:
    remote = Remote()
    path = remote.into(cache, "d/1/shard")
    assert path.read_bytes() == remote.content
    assert cache.find("bucket", "d/1/shard", version="v") == path
    assert cache.find("bucket", "d/1/shard", sha256=sha256(path)) == path
    assert cache.find("bucket", "d/1/shard", version="newer") is None
    assert cache.find("bucket", "d/1/shard", sha256="0" * 64) is None
    assert cache.find("other", "d/1/shard", version="v") is None


def test_many_threads_that_want_one_file_fetch_it_once(cache: Cache) -> None:
    remote = Remote()
    with ThreadPoolExecutor(16) as pool:
        paths = set(pool.map(lambda _: remote.into(cache, "d/1/shard"), range(64)))
    assert len(paths) == 1
    assert remote.asked == 1


def test_many_processes_that_want_one_file_fetch_it_once(cache: Cache, tmp_path: Path) -> None:
    want = """
import sys, time
from pathlib import Path
from infra.store.cache import Cache
def download(path):
    with open(sys.argv[2], "a") as asked:
        asked.write("x")
    time.sleep(0.5)
    path.write_bytes(b"tokens")
print(Cache(Path(sys.argv[1]), 10**9).fetch("bucket", "d/1/shard", "v", 6, "", download).read_text())
"""
    command = [sys.executable, "-c", want, str(cache.folder), str(tmp_path / "asked")]
    wanting = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [each.communicate()[0] for each in wanting] == ["tokens\n"] * 4
    assert (tmp_path / "asked").read_text() == "x"


def test_a_download_that_breaks_off_leaves_nothing_and_is_tried_by_the_next(cache: Cache) -> None:
    remote = Remote()

    def breaks_off(path: Path) -> None:
        path.write_bytes(remote.content[:10])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.fetch("bucket", "d/1/shard", "v", KB, "", breaks_off)
    assert there(cache) == set()
    assert list((cache.folder / "tmp").iterdir()) == []
    assert remote.into(cache, "d/1/shard").read_bytes() == remote.content


def test_a_process_that_was_killed_in_a_download_leaves_nothing_that_is_taken_for_whole(cache: Cache) -> None:
    die = """
import os, signal, sys
from pathlib import Path
from infra.store.cache import Cache
def die(path):
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
Cache(Path(sys.argv[1]), 10**9).fetch("bucket", "d/1/shard", "v", 1000, "", die)
"""
    assert subprocess.run([sys.executable, "-c", die, str(cache.folder)], check=False).returncode == -9
    assert cache.find("bucket", "d/1/shard", version="v") is None
    remote = Remote()
    assert remote.into(cache, "d/1/shard").read_bytes() == remote.content
    (left,) = (cache.folder / "tmp").iterdir()
    os.utime(left, (0, 0))
    Remote().into(Cache(cache.folder, 10 * KB), "d/1/other")
    assert not left.exists(), "what is left is taken away once it is old"


def test_a_file_that_arrives_otherwise_than_it_was_written_is_fetched_once_more(cache: Cache) -> None:
    remote, asked = Remote(), []

    def flips_a_bit_once(path: Path) -> None:
        remote.download(path)
        asked.append(path)
        if len(asked) == 1:
            path.write_bytes(b"x" + remote.content[1:])

    (cache.folder.parent / "original").write_bytes(remote.content)
    sha = sha256(cache.folder.parent / "original")
    assert cache.fetch("bucket", "d/1/shard", "v", KB, sha, flips_a_bit_once).read_bytes() == remote.content
    with pytest.raises(DamagedError, match="d/1/other"):
        cache.fetch("bucket", "d/1/other", "v", KB, "0" * 64, remote.download)
    assert there(cache) == {"d/1/shard"}


def test_a_file_that_somebody_changed_is_not_given_again(cache: Cache) -> None:
    path = Remote().into(cache, "d/1/shard")
    path.write_bytes(b"changed")
    assert cache.find("bucket", "d/1/shard", version="v") is None
    path.unlink()
    assert cache.find("bucket", "d/1/shard", version="v") is None


def test_what_says_what_a_file_is_may_be_damaged_too(cache: Cache) -> None:
    Remote().into(cache, "d/1/shard")
    for text in ("", "{", "[]", json.dumps({"version": "v"})):
        (cache.folder / "bucket/known/d/1/shard.json").write_text(text)
        assert cache.find("bucket", "d/1/shard", version="v") is None


def test_the_longest_unused_folder_that_nobody_holds_makes_room(cache: Cache) -> None:
    unused(cache, "a/1", "b/1")
    assert cache.find("bucket", "a/1", version="v"), "used just now, and held by this process"
    Remote(4 * KB).into(cache, "c/1")
    assert there(cache) == {"a/1", "c/1"}


def test_used_again_is_young_again(cache: Cache) -> None:
    unused(cache, "a/1", "b/1")
    use = subprocess.run(
        [sys.executable, "-c", USE, str(cache.folder), "a/1"], input="", capture_output=True, text=True, check=True
    )
    assert use.stdout.strip().endswith("a/1")
    Remote(4 * KB).into(cache, "c/1")
    assert there(cache) == {"a/1", "c/1"}


def test_what_a_living_process_uses_is_never_taken_away(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    unused(cache, "a/1", "b/1")
    user = subprocess.Popen(
        [sys.executable, "-c", USE, str(cache.folder), "a/1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert user.stdout is not None
    assert user.stdout.readline().strip().endswith("a/1")
    Remote(9 * KB).into(cache, "c/1")
    assert there(cache) == {"a/1", "c/1"}
    assert "all of it is in use" in caplog.text
    user.kill()
    user.wait()
    Remote(KB).into(Cache(cache.folder, 10 * KB), "d/1")
    assert there(cache) == {"c/1", "d/1"}, "a process that died holds nothing"


def test_a_file_that_is_mapped_stays_readable_when_it_is_taken_away(cache: Cache) -> None:
    remote = Remote()
    mapped = np.memmap(remote.into(cache, "d/1/shard"), dtype=np.uint8, mode="r")
    assert cache.drop("bucket", "d/1/shard")
    assert mapped.tobytes() == remote.content
    assert not cache.drop("bucket", "d/1/shard")


def test_a_file_that_was_just_written_to_the_store_is_kept(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "made").write_bytes(b"tokens")
    cache.keep("bucket", "d/1/shard", "v", sha256(tmp_path / "made"), tmp_path / "made")
    found = cache.find("bucket", "d/1/shard", version="v")
    assert found is not None
    assert found.read_bytes() == b"tokens"
    assert not (tmp_path / "made").exists()


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    assert Cache.here().folder == tmp_path / "home/cache"
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("SLIPWAY_CACHE_GB", "0.5")
    assert (Cache.here().folder, Cache.here().limit) == (tmp_path / "elsewhere", 500_000_000)
    assert Cache.here() is Cache.here()
    monkeypatch.setenv("SLIPWAY_CACHE_GB", "plenty")
    with pytest.raises(InputError, match="SLIPWAY_CACHE_GB"):
        Cache.here()


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="(?s)the cache cannot be used.*SLIPWAY_CACHE"):
        Remote().into(Cache(tmp_path / "file/cache", 10 * KB), "a/1")


def test_measuring_a_cache_of_many_files_is_not_repeated_with_each(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 10**9)
    measured, measure = list[float](), cache._shelves

    def counted() -> Iterator[Any]:
        measured.append(time.time())
        return measure()

    cache._shelves = counted  # type: ignore[method-assign]
    for number in range(50):
        Remote().into(cache, f"d/1/{number}")
    assert len(measured) == 1
