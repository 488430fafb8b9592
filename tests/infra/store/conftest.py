"""The same tests on every store: a folder, Swift for the bulk, Ceph for what relies on a conditional put."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.store import open_store
from infra.store.protocol import Store
from tests.s3_server import S3Server

MakeStore = Callable[[str], Store]


@pytest.fixture
def make_store(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> MakeStore:
    """An empty store: `make_store("folder")`, `make_store("swift")`, `make_store("ceph")`."""

    def make(kind: str) -> Store:
        if kind == "folder":
            return open_store(str(tmp_path / "store"))
        server: S3Server = request.getfixturevalue(kind)
        server.use(monkeypatch)
        monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))  # one: the server is probed once
        return open_store(f"s3://{server.bucket}/{uuid.uuid4().hex[:8]}/store")

    return make


@pytest.fixture(params=["folder", "swift"])
def store(request: pytest.FixtureRequest, make_store: MakeStore) -> Store:
    return make_store(request.param)


@pytest.fixture(params=["folder", "ceph"])
def atomic_store(request: pytest.FixtureRequest, make_store: MakeStore) -> Store:
    """One that leases and the ledger may be kept in."""
    return make_store(request.param)
