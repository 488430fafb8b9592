"""Who makes the parts does not show in the corpus: this process, several on this machine, or a Ray cluster."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import ray

from infra.cluster import _end_strays, connect
from infra.store import open_store
from infra.store.folder import FolderStore
from infra.tasks import run_tasks
from llm.data.gathering.gather import remove_parts
from llm.events import Event, Noted
from tests.llm.data.gathering.sources import gathered, write_source, written
from tests.s3_server import S3Server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "source")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    with connect(None, cpus=2, home=home):
        yield ray.get_runtime_context().gcs_address
    _end_strays(home / "ray")


def test_processes_give_the_same_bytes(source: Path, tmp_path: Path) -> None:
    question = {"mine": ["river stone winter letter captain garden harbour silver morning bridge candle forest"]}
    here = gathered(source, FolderStore(tmp_path / "a"), tmp_path / "here", evaluation_texts=question)
    run = partial(run_tasks, workers=2)
    there = gathered(source, FolderStore(tmp_path / "b"), tmp_path / "there", run=run, evaluation_texts=question)
    assert written(tmp_path / "there") == written(tmp_path / "here")
    assert there.sources == here.sources


def test_parts_on_s3_give_the_same_bytes(source: Path, tmp_path: Path, swift: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    swift.use(monkeypatch)
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path / "cache"))
    store = open_store(f"s3://{swift.bucket}/gathering/store")
    gathered(source, FolderStore(tmp_path / "a"), tmp_path / "here")
    gathered(source, store, tmp_path / "there", run=partial(run_tasks, workers=2))
    assert written(tmp_path / "there") == written(tmp_path / "here")
    told: list[Event] = []
    gathered(source, store, tmp_path / "again", observe=told.append)
    assert Noted("7 of 7 parts were done before") in told
    assert written(tmp_path / "again") == written(tmp_path / "here")
    remove_parts(store, "k")
    assert list(store.list("parts")) == []


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_ray_gives_the_same_bytes(source: Path, tmp_path: Path, cluster: str) -> None:
    gathered(source, FolderStore(tmp_path / "a"), tmp_path / "here")
    gathered(source, FolderStore(tmp_path / "b"), tmp_path / "ray", run=partial(run_tasks, workers=2, address=cluster))
    assert written(tmp_path / "ray") == written(tmp_path / "here")
    again = FolderStore(tmp_path / "b")
    gathered(source, again, tmp_path / "again", run=partial(run_tasks, workers=0, address=cluster))
    assert written(tmp_path / "again") == written(tmp_path / "here")
