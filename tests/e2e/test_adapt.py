"""An existing model and rows of one's own: finetuned, gated, served, taken back."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import FAST, Slipway

BASE = "models:/slipway-tiny@champion"
QUICK = ["--set", "classify.training.epochs=6", "--set", "classify.training.learning_rate=0.003"]


def mail(path: Path, *, words: tuple[str, str] = ("prize money winner claim", "lunch tomorrow meeting notes")) -> Path:
    rows = ["text,label"]
    for n in range(120):
        label = n % 2
        first, *rest = words[label].split()
        rows.append(f"{first} {rest[n % 3]} number {n},{('spam', 'ham')[label]}")
    path.write_text("\n".join(rows) + "\n")
    return path


def test_rows_are_known_by_their_first_and_what_is_missing_is_named_before_anything_starts(slipway: Slipway) -> None:
    mail(slipway.folder / "mail.csv")
    (slipway.folder / "base").mkdir()
    for words, said in (
        (["adapt", "base", "mail.csv"], "not a model folder: it has no config.json"),
        (["adapt", "base", "nowhere.jsonl"], "nowhere.jsonl: no such file or folder"),
        (["adapt", "base", "mail.csv", "--to", "mars"], "classify.target is 'mars'"),
    ):
        done = slipway(*words)
        assert done.code == 2, done.err
        assert said in done.err
    assert not slipway.home.exists()


@pytest.mark.slow
def test_rows_become_a_model_that_serves_and_is_taken_back(slipway: Slipway, text: Callable[[Path], Path]) -> None:
    text(slipway.folder / "text.txt")
    pretrained = slipway("run", "lifecycle", "--set", "data.path=text.txt", *FAST, "--json")
    assert pretrained.code == 0, pretrained.err
    url = ""
    try:
        for number, words in enumerate(
            (("prize money winner claim", "lunch tomorrow meeting notes"), ("sail rope ship sea", "rain snow wind sun"))
        ):
            mail(slipway.folder / f"mail-{number}.csv", words=words)
            done = slipway("adapt", BASE, f"mail-{number}.csv", "--name", f"mail-{number}", *QUICK, "--json")
            assert done.code == 0, done.err
            stages = {stage["stage"]: stage["result"] for stage in done.json()["stages"]}
            assert stages["evaluate-classifier"]["accuracy"]["value"] > 0.8
            assert stages["deploy"]["model"] == f"models:/mail-{number}/1"
            url = stages["deploy"]["url"]
        assert label(url, "mail-1", "sail ship number 7") == "spam"
        again = slipway("adapt", BASE, "mail-1.csv", "--name", "mail-1", *QUICK, "--json")
        assert {stage["state"] for stage in again.json()["stages"]} == {"reused"}
        back = slipway("rollback", "local", "--json")
        assert back.code == 0, back.err
        assert label(url, "mail-0", "prize winner number 7") == "spam"
    finally:
        slipway("down")


def label(url: str, model: str, text: str) -> str:
    answer = httpx.post(f"{url}/v1/classifications", json={"model": model, "input": text}, timeout=30, trust_env=False)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"][0]["label"])
