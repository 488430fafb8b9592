"""What `slipway data validate` prints and leaves: one document, an exit code, and each row that was turned away with its place."""

import hashlib
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows.cli import main

Call = Callable[..., tuple[int, str, str]]
SENTENCES = "The harbour lay still. {} boats came in with the tide, and number {} was late, as ever; nobody minded it at all."


@pytest.fixture
def validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))

    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["data", "validate", *map(str, words)])
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return call


def prose(n: int = 60) -> list[str]:
    """Texts that no rule minds, and no two alike."""
    chance = random.Random(n)
    words = sorted({word for word in Path(__file__).read_text().split() if word.isalpha()})
    return [f"{SENTENCES.format(n, i)} {' '.join(chance.sample(words, 40))}." for i in range(n)]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def failed(document: dict[str, Any]) -> set[str]:
    return {each["name"] for each in document["expectations"] if each["severity"] == "block" and not each["success"]}


def test_a_clean_file_passes_and_leaves_a_page(tmp_path: Path, validate: Call, data_folder: Path) -> None:
    file = tmp_path / "play.txt"
    file.write_bytes((data_folder / "tinyshakespeare/input.txt").read_bytes()[:200_000])
    code, out, err = validate(file, "--kind", "corpus")
    assert code == 0, err
    assert out.startswith("play (corpus): passed; ")
    page = Path(next(line for line in out.splitlines() if line.startswith("Report: ")).removeprefix("Report: "))
    assert page.parent.parent == tmp_path / "home" / "validations"
    assert "<title>Passed: play</title>" in page.read_text()
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "findings.parquet",
        "rejected.parquet",
        "report.html",
        "report.json",
    ]
    assert not (tmp_path / "home" / "store").exists()  # nothing is stored


def test_the_messy_folder_is_refused_for_what_it_is(tmp_path: Path, validate: Call, data_folder: Path) -> None:
    out_folder = tmp_path / "out"
    code, out, err = validate(data_folder / "messy-synthetic", "--kind", "corpus", "--json", "--out", out_folder)
    assert code == 3
    document = json.loads(out)
    assert document["passed"] is False
    assert failed(document) >= {"max_unreadable_files", "max_undecodable_share", "max_malformed_share", "max_secret_share"}
    assert "files that cannot be read" in err  # in words, for people
    assert "Traceback" not in err
    assert document["rows"] == document["kept"] + sum(document["rejected"].values())
    rejected = pq.read_table(document["rejected_file"])
    assert rejected.column_names[:5] == ["id", "source", "row", "reason", "detail"]
    assert Counter(rejected["reason"].to_pylist()) == document["rejected"]
    findings = pq.read_table(document["findings_file"])
    assert findings.column_names[:4] == ["id", "kind", "start", "end"]
    assert Counter(findings["kind"].to_pylist()) == document["found"]
    assert document["report"] == str(out_folder / "report.html")
    unreadable = next(each for each in document["expectations"] if each["name"] == "max_unreadable_files")
    assert (unreadable["observed"], unreadable["limit"], unreadable["success"]) == (2, 0, False)
    assert {example.split(":")[0] for example in unreadable["examples"]} == {"binary.txt", "truncated.txt.gz"}


def test_nothing_that_is_somebodys_is_printed_or_on_the_page(tmp_path: Path, validate: Call, data_folder: Path) -> None:
    folder = data_folder / "messy-synthetic"
    code, out, err = validate(folder / "documents.jsonl", "--json", "--out", tmp_path / "out")
    assert code == 3
    labels = json.loads((folder / "documents.labels.json").read_text())
    rows = [json.loads(line) for line in (folder / "documents.jsonl").read_text(errors="replace").splitlines()]
    planted = [row["text"].rpartition(": ")[2].rstrip(".") for row in rows if labels[row["id"]].startswith("pii:")]
    assert len(planted) > 40
    shown = out + err + (tmp_path / "out/report.html").read_text() + (tmp_path / "out/report.json").read_text()
    assert [secret for secret in planted if secret in shown] == []


def test_the_same_data_gives_the_same_files(tmp_path: Path, validate: Call) -> None:
    file = jsonl(tmp_path / "a.jsonl", [{"id": f"d{n}", "text": text} for n, text in enumerate([*prose(), "", "short"])])

    def digests(name: str) -> dict[str, str]:
        assert validate(file, "--out", tmp_path / name, "--set", "data.expectations.max_empty_share=0.1")[0] == 0
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / name).iterdir()}

    assert digests("one") == digests("two")


def test_an_inputs_own_ids_are_kept(tmp_path: Path, validate: Call) -> None:
    texts = prose()
    file = jsonl(tmp_path / "a.jsonl", [{"id": f"mine-{n}", "text": text} for n, text in enumerate([*texts, texts[0]])])
    code, out, _ = validate(file, "--json")
    document = json.loads(out)
    assert (code, document["rejected"]) == (0, {"exact-duplicate": 1})
    assert pq.read_table(document["rejected_file"]).select(["id", "source", "row", "reason"]).to_pylist() == [
        {"id": "mine-60", "source": "a.jsonl", "row": 61, "reason": "exact-duplicate"}
    ]


def test_limits_and_waivers_are_the_recipes(tmp_path: Path, validate: Call) -> None:
    file = jsonl(tmp_path / "a.jsonl", [{"text": text} for text in prose(4)])
    code, out, err = validate(file, "--json", "--set", "data.expectations.min_documents=5")
    assert (code, failed(json.loads(out))) == (3, {"min_documents", "min_bytes"})
    assert "change a limit with --set data.expectations.NAME=VALUE" in err
    code, out, _ = validate(file, "--set", "data.expectations.min_bytes=10")
    assert code == 0


@pytest.mark.parametrize("kind", ["corpus", "instruction"])
def test_rows_that_hold_a_question_of_an_evaluation_set_are_left_out(tmp_path: Path, validate: Call, kind: str) -> None:
    questions = [
        f"Which of the {n} harbours named in the old pilot book of the northern coast has no lighthouse?" for n in range(9)
    ]
    tests = jsonl(tmp_path / "tests.jsonl", [{"question": question} for question in questions])
    texts = prose()
    texts[7] += f" {questions[3]}"
    rows = [{"id": f"d{n}", "text": text} for n, text in enumerate(texts)]
    if kind == "instruction":
        rows = [{"id": row["id"], "instruction": f"Go on from {row['id']}.", "output": row["text"]} for row in rows]
    code, out, err = validate(jsonl(tmp_path / "mine.jsonl", rows), "--kind", kind, "--against", tests, "--json")
    document = json.loads(out)
    left_out = {row["id"] for row in pq.read_table(document["rejected_file"]).to_pylist() if row["reason"] == "contamination"}
    assert left_out == {"d7"}
    recall = next(each for each in document["expectations"] if each["name"] == "min_contamination_recall")
    assert (recall["observed"], recall["success"]) == (1.0, True), err
    assert code == 3  # one of sixty is more than one in a hundred
    assert failed(document) == {"max_contamination_share"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone.txt"], "no such file"),
        (["a.txt", "--set", "data.expectations.max_empti_share=1"], "the nearest known one is data.expectations.max_empty_share"),
        (["a.txt", "--kind", "corpora"], "corpora"),
        (["binary.bin"], ""),
    ],
)
def test_what_cannot_be_read_or_meant_ends_with_a_sentence(
    tmp_path: Path, validate: Call, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a few words")
    code, out, err = validate(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    code, out, _ = validate(*words, "--json")
    assert (code, set(json.loads(out)["error"])) == (2, {"code", "what", "where", "mend"})


KINDS: dict[str, tuple[list[dict[str, Any]], dict[str, int], set[str]]] = {
    "instruction": (
        [{"instruction": f"What is {n}?", "output": f"It is {n}, no more."} for n in range(40)]
        + [{"instruction": "What?", "output": " "}] * 5
        + [{"instruction": "What?"}],
        {"empty-answer": 5, "missing-column": 1},
        {"max_empty_answer_share", "max_invalid_share"},
    ),
    "preference": (
        [{"prompt": f"What is {n}?", "chosen": f"It is {n}, no more.", "rejected": f"It is {n + 1}."} for n in range(40)]
        + [{"prompt": "What?", "chosen": "This.", "rejected": "This."}] * 4,
        {"same-answers": 4},
        {"max_same_answers_share"},
    ),
    "classification": (
        [{"text": f"{text} {n}", "label": "ham" if n % 3 else "spam"} for n, text in enumerate(prose(40))]
        + [{"text": "both of them, at once", "label": label} for label in ("ham", "spam")],
        {"label-conflict": 2},
        {"max_conflict_share"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_refused_for_its_own_faults(tmp_path: Path, validate: Call, kind: str) -> None:
    rows, rejected, expected = KINDS[kind]
    code, out, _ = validate(jsonl(tmp_path / "rows.jsonl", rows), "--kind", kind, "--json")
    document = json.loads(out)
    assert (code, document["rejected"], failed(document)) == (3, rejected, expected)
    assert document["rows"] == len(rows)
    code, out, _ = validate(jsonl(tmp_path / "good.jsonl", rows[:40]), "--kind", kind)
    assert code == 0


def test_it_needs_no_prefect_and_no_server(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a.jsonl", [{"text": text} for text in prose()])
    program = (
        "import sys; from flows.cli import main\n"
        f"try: main(['data', 'validate', {str(file)!r}, '--json'])\n"
        "finally: print([name for name in ('prefect', 'mlflow', 'torch', 'ray') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr.splitlines()[-1] == "[]"
    assert json.loads(done.stdout)["passed"] is True
