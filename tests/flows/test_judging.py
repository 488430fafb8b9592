"""Data is judged where it lies: beside its last version where there is one, in one go whatever the kind, and without a server."""

import random
from pathlib import Path
from typing import Any

import pytest

from flows.judging import Judged, judge
from infra.store.errors import StoreError
from infra.store.folder import FolderStore
from infra.store.manifest import publish
from infra.store.protocol import Store
from llm.data.config import DataConfig
from llm.data.counted import Counted
from llm.data.documents import Document
from llm.data.profile import Profiler
from llm.events import Event, Noted

WORDS = sorted({word for word in Path(__file__).read_text().split() if word.isalpha()})


def texts(n: int, words: int, seed: int = 0) -> list[str]:
    chance = random.Random(seed)
    return [f"Of number {i} and the rest: {' '.join(chance.choices(WORDS, k=words))}." for i in range(n)]


def published(store: Store, name: str, given: list[str]) -> None:
    """An earlier version of a corpus, as its flow leaves it."""
    profiler = Profiler()
    for n, text in enumerate(given):
        profiler.add(Document(f"d{n}", f"d{n}", "a.txt", text))
    folder = Path(store.url) / "tmp-folder"
    folder.mkdir(parents=True)
    (folder / "corpus.txt").write_text("whatever")
    facts = {"kind": "corpus", "profile": profiler.result(Counted(rows=len(given))).document()}
    publish(store, f"datasets/{name}/v1", folder, facts, version="v1")


def judged(tmp_path: Path, given: list[str], store: Store | None, said: list[str]) -> Judged:
    (tmp_path / "mine").mkdir(exist_ok=True)
    for n, text in enumerate(given):
        (tmp_path / "mine" / f"{n:03}.txt").write_text(text)

    def observe(event: Event) -> None:
        said.extend([event.message] if isinstance(event, Noted) else [])

    return judge("corpus", str(tmp_path / "mine"), DataConfig(), tmp_path / "out", observe, store=store)


def by_name(found: Judged) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in found.document["expectations"]}


def test_data_is_compared_with_the_last_version_of_its_name_and_a_change_warns(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    published(store, "mine", texts(80, 60, seed=1))
    same = by_name(judged(tmp_path, texts(80, 60), store, []))
    assert {name: each["verdict"] for name, each in same.items() if each["suite"] == "drift"} == {
        "max_mean_bytes_drift": "passed",
        "max_length_drift": "passed",
        "max_language_drift": "passed",
        "max_rejected_drift": "passed",
    }
    moved = judged(tmp_path, texts(80, 600), store, [])
    assert {name for name, each in by_name(moved).items() if each["verdict"] == "warned"} == {
        "max_mean_bytes_drift",
        "max_length_drift",
    }
    assert moved.report.passed
    assert "dashed, the last version" in moved.report_file.read_text()


def test_without_an_earlier_version_nothing_is_said_to_have_moved(tmp_path: Path) -> None:
    found = judged(tmp_path, texts(40, 60), FolderStore(tmp_path / "store"), [])
    assert not any(each["suite"] == "drift" for each in found.document["expectations"])
    assert {each["why"] for each in found.document["not_judged"] if each["suite"] == "drift"} == {
        "there is no earlier version to compare with"
    }


def test_a_store_that_is_out_of_reach_stops_nobody_from_judging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, said = FolderStore(tmp_path / "store"), list[str]()

    def unreachable(*arguments: object) -> None:
        raise StoreError("cannot be reached", where="s3://bucket")

    monkeypatch.setattr(store, "list", unreachable)
    assert judged(tmp_path, texts(40, 60), store, said).report.passed
    assert said[-1] == "not compared with an earlier version: cannot be reached (s3://bucket)"


def test_nothing_is_left_but_the_report_and_the_lists_of_rows(tmp_path: Path) -> None:
    found = judged(tmp_path, [*texts(40, 60), "x"], None, [])
    assert (found.rows, found.kept, found.rejected) == (41, 40, {"too-short": 1})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "findings.parquet",
        "rejected.parquet",
        "report.html",
        "report.json",
    ]
