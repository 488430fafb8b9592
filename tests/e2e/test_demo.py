"""What a newcomer does first: one command, nothing to start, models that have learnt and answer; the second costs seconds."""

import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Slipway

BASE = ["validate-data", "prepare-data", "pretrain", "evaluate", "register", "release"]
CLASSIFIER = ["prepare-classification", "finetune-classify", "evaluate-classifier", "register", "release", "deploy"]
ASSISTANT = ["prepare-instructions", "finetune-instruct", "evaluate-assistant", "register", "release", "deploy"]


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(1800)
def test_the_demo_ends_with_models_that_beat_simple_rivals_and_answer_and_the_next_one_reuses_them(slipway: Slipway) -> None:
    first = slipway("demo", "--json", timeout=1500)  # two cores without bf16 take twice as long as those with it
    assert first.code == 0, first.err
    document = first.json()
    assert [stage["stage"] for stage in document["stages"]] == [*BASE, *CLASSIFIER, *ASSISTANT]
    results = {stage["stage"]: stage["result"] for stage in document["stages"]}
    assert 5_000 <= results["validate-data"]["documents"] <= 9_000  # Debian leaves modules out
    assert 5_000_000 <= results["pretrain"]["parameters"] <= 6_000_000
    measured = results["evaluate"]
    assert measured["bits_per_byte"]["value"] < measured["ngram_bits_per_byte"] < measured["xz_bits_per_byte"]
    assert all(sample["text"].strip() for sample in measured["samples"])
    assert Path(measured["loss_curve"]).read_bytes().startswith(b"\x89PNG")
    assert results["evaluate-classifier"]["accuracy"]["low"] > results["evaluate-classifier"]["majority_accuracy"]
    answers = results["evaluate-assistant"]["bits_per_byte"]
    assert answers["model"]["high"] < answers["base"]["low"]
    *labels, answer = document["asked"]
    assert len(labels) == 3
    assert all(0 < each["probability"] <= 1 for each in labels)
    assert answer["answer"].strip()
    assert all(each["state"] == "stopped" for each in slipway("status", "--json").json()["targets"])
    began = time.monotonic()
    second = slipway("demo")
    assert time.monotonic() - began < 45
    assert second.code == 0, second.err
    assert "Nothing changed since the last time: every result is reused." in second.err
    assert all(f"{stage}: reused, same settings, same inputs" in second.out for stage in results)
    assert f"-> {' '.join(answer['answer'].split()[:5])}" in " ".join(second.out.split())


def test_with_text_of_ones_own_the_tasks_about_the_demos_text_are_left_out(slipway: Slipway) -> None:
    (slipway.folder / "seas.txt").write_text(
        "\n\n".join(f"The grey sea number {n} lies calm, and the ship waits." for n in range(300))
    )
    planned = slipway("run", "lifecycle", "--plan", "--json", "--set", "data.path=seas.txt")
    assert [stage["stage"] for stage in planned.json()["stages"]] == BASE
