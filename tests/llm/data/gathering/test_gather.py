"""Every row of every source is kept or rejected with its reason, and what a corpus holds does not hang on how it was cut."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.store.errors import InputError
from infra.store.folder import FolderStore
from llm.data.cleaning.config import CleaningConfig
from llm.data.config import CURATED, PYTHON_STDLIB
from llm.data.documents import Document
from llm.data.gathering.counts import counted
from llm.data.gathering.gather import gather, remove_parts
from llm.data.gathering.plan import Source
from llm.data.reading.inspect import inspect
from llm.events import Event, Noted, Progress
from tests.llm.data.gathering.sources import documents, gathered, rows, sentences, write_source, written


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "source")


def test_every_row_is_kept_or_rejected_with_its_reason_and_place(source: Path, store: FolderStore, tmp_path: Path) -> None:
    result = gathered(source, store, tmp_path / "job")
    assert result.rows == 61
    assert result.rejected == {"empty": 1, "exact-duplicate": 1, "missing-column": 1, "near-duplicate": 1, "not-json": 1}
    assert result.kept == 56
    left_out = rows(result.rejected_file)
    assert [(row["id"], row["source"], row["row"], row["reason"]) for row in left_out] == [
        ("0.jsonl:11", "0.jsonl", 11, "not-json"),
        ("r11", "0.jsonl", 12, "missing-column"),
        ("r20", "1.jsonl", 1, "exact-duplicate"),
        ("r30", "1.jsonl", 11, "empty"),
        ("r45", "2.jsonl", 6, "near-duplicate"),
    ]
    assert left_out[2]["detail"] == "1.jsonl, row 1: repeats r3"
    assert left_out[4]["detail"] == "2.jsonl, row 6: repeats r7"
    assert left_out[4]["text"] == sentences(4, 7).replace(".", " ;").upper()
    assert left_out[1]["detail"] == '0.jsonl, row 12: no column "text"'
    counts = result.sources[""]
    assert (counts.rows, counts.kept) == (61, 56)
    assert counts.columns == {"text": 61}
    assert counts.bytes_kept == sum(len(sentences(4, seed)) for seed in range(60) if seed not in {10, 11, 20, 30, 45}) + len(
        "\n\n".join(sentences(10, seed) for seed in range(100, 105)) + " Write to ada@example.org or ada@example.com."
    )


def test_documents_come_in_order_with_their_ids_and_long_ones_in_passages(source: Path, store: FolderStore, tmp_path: Path) -> None:
    seen: list[Document] = []

    def watch(documents: object) -> object:
        for document in documents:  # type: ignore[attr-defined]
            seen.append(document)
            yield document

    result = gathered(source, store, tmp_path / "job", watch=watch)
    found = documents(result)
    assert [row["id"] for row in found[:3]] == ["r0", "r1", "r2"]
    assert found[0]["text"] == sentences(4, 0)
    assert [row["id"] for row in found[-2:]] == ["letter.txt:1.2", "letter.txt:1.3"]
    assert {row["parent"] for row in found[-3:]} == {"letter.txt:1"}
    assert [(row["id"], row["parent"], row["source"], row["text"]) for row in found] == [
        (document.id, document.parent, document.source, document.text) for document in seen
    ]
    assert result.stats.rows == len(found) == 58
    assert [row["text"] for row in found if row["id"] == "r51"] == [sentences(4, 51)]


def test_what_was_found_is_kept_with_its_place_in_the_text_as_it_was_read(source: Path, store: FolderStore, tmp_path: Path) -> None:
    result = gathered(source, store, tmp_path / "job")
    mails = [row for row in rows(result.findings_file) if row["kind"] == "pii:email"]
    text = sentences(4, 50) + " Write to ada@example.org or ada@example.com."
    assert [text[row["start"] : row["end"]] for row in mails] == ["ada@example.org", "ada@example.com"]
    assert {(row["id"], row["field"]) for row in mails} == {("r50", "text")}
    assert (result.found["pii:email"], result.found_rows["pii:email"]) == (2, 1)
    assert result.found_rows["html"] == 1


def test_what_was_found_in_a_repetition_is_not_counted(store: FolderStore, tmp_path: Path) -> None:
    text = sentences(3, 1) + " Write to ada@example.org."
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for _ in range(3)))
    result = gathered(tmp_path / "a.jsonl", store, tmp_path / "job")
    assert (result.kept, result.rejected) == (1, {"exact-duplicate": 2})
    assert result.found == {"pii:email": 1}
    assert [row["id"] for row in rows(result.findings_file)] == ["a.jsonl:1"]


def test_how_the_source_is_cut_changes_nothing(source: Path, store: FolderStore, tmp_path: Path) -> None:
    results = [
        gathered(source, FolderStore(tmp_path / f"s{size}"), tmp_path / f"j{size}", part_bytes=size) for size in (900, 1_000_000)
    ]
    assert written(tmp_path / "j900") == written(tmp_path / "j1000000")
    assert results[0].sources == results[1].sources
    assert results[0].rejected == results[1].rejected


def test_repetitions_are_left_out_as_far_as_the_recipe_says(source: Path, tmp_path: Path) -> None:
    exact = gathered(source, FolderStore(tmp_path / "a"), tmp_path / "exact", CleaningConfig(duplicates="exact"))
    assert (exact.rejected["exact-duplicate"], exact.rejected.get("near-duplicate")) == (1, None)
    every = gathered(source, FolderStore(tmp_path / "b"), tmp_path / "keep", CleaningConfig(duplicates="keep"))
    assert not {"exact-duplicate", "near-duplicate"} & set(every.rejected)
    assert every.rows == every.kept + sum(every.rejected.values())


def test_several_sources_are_told_apart_by_their_names(source: Path, store: FolderStore, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text(sentences(20, 200))
    pq.write_table(pa.table({"content": [sentences(4, 3), sentences(4, 201)]}), other / "rows.parquet")
    both = [Source(inspect(str(source)), "mine"), Source(inspect(str(other)), "yours")]
    told: list[Event] = []
    result = gather(both, CleaningConfig(), store=store, key="k", folder=tmp_path / "job", observe=told.append)
    found = documents(result)
    assert {row["source"].split("/")[0] for row in found} == {"mine", "yours"}
    assert {row["id"] for row in found} >= {"r0", "mine/letter.txt:1", "yours/letter.txt:1", "yours/rows.parquet:2"}
    assert (result.sources["yours"].rows, result.sources["yours"].kept) == (3, 2)
    assert result.sources["yours"].bytes_kept == sum(len(row["text"]) for row in found if row["source"].startswith("yours/"))
    (repeated,) = [row for row in rows(result.rejected_file) if row["source"] == "yours/rows.parquet"]
    assert (repeated["id"], repeated["reason"]) == ("yours/rows.parquet:1", "exact-duplicate")
    assert Noted('yours: the text is in "content", by its name') in told
    assert Noted("the text is in different columns: 2 rows in content, 62 rows in text") in told
    assert Progress("cleaning", 2, 2, "parts") in told


def test_documents_that_hold_a_question_of_a_test_are_left_out(source: Path, store: FolderStore, tmp_path: Path) -> None:
    question = "Which harbour did the captain of the silver ship leave on the morning after the great winter storm of that year?"
    (tmp_path / "questions.jsonl").write_text(json.dumps({"question": question, "answer": "None"}) + "\n")
    (source / "leak.jsonl").write_text(json.dumps({"id": "leak", "text": f"{sentences(2, 9)} {question} {sentences(2, 8)}"}) + "\n")
    config = CleaningConfig(evaluation_sets=(str(tmp_path / "questions.jsonl"),))
    result = gathered(source, store, tmp_path / "job", config)
    assert (result.rejected["contamination"], result.recall) == (1, 1.0)
    assert counted(result, config).numbers()["contamination_recall"] == 1.0
    assert [row["id"] for row in rows(result.rejected_file) if row["reason"] == "contamination"] == ["leak"]
    given = gathered(source, FolderStore(tmp_path / "b"), tmp_path / "given", evaluation_texts={"mine": [question]})
    assert given.rejected["contamination"] == 1


def test_the_main_language_is_kept_in_every_part(store: FolderStore, tmp_path: Path) -> None:
    texts = [sentences(4, seed) for seed in range(30)]
    texts[20] = "Это совсем другой язык, и в этом корпусе его никто не ждёт, поэтому он должен быть отклонён."
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    result = gathered(tmp_path / "a.jsonl", store, tmp_path / "job", part_bytes=1000)
    assert result.main_language == "en"
    assert result.rejected == {"other-language": 1}


def test_the_standard_library_is_a_source_like_any_other(store: FolderStore, tmp_path: Path) -> None:
    result = gather([Source(inspect(PYTHON_STDLIB))], CURATED, store=store, key="k", folder=tmp_path / "job")
    assert result.kept > 3000
    assert result.rows == result.kept + sum(result.rejected.values())


def test_a_source_without_a_column_of_text_is_refused_and_a_file_without_is_rejected(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s/a.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    with pytest.raises(InputError, match="no column was found for the text"):
        gathered(tmp_path / "s", store, tmp_path / "job")
    (tmp_path / "s/b.jsonl").write_text(json.dumps({"words": sentences(3, 1)}) + "\n")
    result = gathered(tmp_path / "s", store, tmp_path / "second")
    assert (result.kept, result.rejected) == (1, {"missing-column": 2})


def test_text_that_no_file_may_hold_is_kept_in_the_record(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"text": sentences(3, 1)}) + '\n{"id": "half \\ud83d", "text": "x \\ud83d y"}\n{"text": 5}\n'
    )
    result = gathered(tmp_path / "a.jsonl", store, tmp_path / "job")
    assert result.rejected == {"lone-surrogate": 1, "not-text": 1}
    assert rows(result.rejected_file)[1]["text"] == "5"


def test_the_shared_messy_documents_are_treated_as_they_are_labelled(data_folder: Path, store: FolderStore, tmp_path: Path) -> None:
    labels = json.loads((data_folder / "messy-synthetic/documents.labels.json").read_text())
    result = gathered(data_folder / "messy-synthetic/documents.jsonl", store, tmp_path / "job", part_bytes=30_000)
    left_out = {row["id"]: row for row in rows(result.rejected_file)}
    planted = Counter(labels.values())
    for kind in ("exact-duplicate", "near-duplicate"):
        found = [row for row in left_out.values() if row["reason"] == kind]
        pairs = [{labels[row["id"]], labels[row["detail"].rsplit(" ", 1)[1]]} for row in found]
        assert sum(kind in pair for pair in pairs) >= 0.95 * planted[kind]
        assert not [pair for pair in pairs if pair == {"clean"}]
    kept = sum(labels[name] == "clean" for name in labels.keys() - left_out.keys())
    originals = sum(labels[name] == "clean" and "duplicate" in row["reason"] for name, row in left_out.items())
    assert kept + originals >= 0.98 * planted["clean"]


def test_parts_are_taken_away_when_the_corpus_is_published(source: Path, store: FolderStore, tmp_path: Path) -> None:
    gathered(source, store, tmp_path / "job")
    assert list(store.list("parts/k"))
    remove_parts(store, "k")
    assert not list(store.list("parts"))
    remove_parts(store, "k")


def test_every_row_of_every_messy_file_is_kept_or_rejected(data_folder: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted((data_folder / "messy-synthetic").glob("*.*"))):
        try:
            result = gathered(path, FolderStore(tmp_path / f"s{number}"), tmp_path / f"j{number}")
        except InputError:
            assert path.name in {"binary.txt", "empty.txt", "truncated.txt.gz"}  # alone, there is nothing else to do with them
            continue
        assert result.rows == result.kept + sum(result.rejected.values()) > 0
        assert len(rows(result.rejected_file)) == sum(result.rejected.values())
        assert len({row["parent"] for row in documents(result)}) <= result.kept
