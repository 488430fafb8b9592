"""What a newcomer does first: one command, nothing to start, a model that has learnt something; the second costs seconds."""

import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Slipway


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_ends_with_a_model_that_beats_a_table_of_counts_and_the_next_one_reuses_it(slipway: Slipway) -> None:
    first = slipway("demo", "--json", timeout=800)
    assert first.code == 0, first.err
    document = first.json()
    results = {stage["stage"]: stage["result"] for stage in document["stages"]}
    assert list(results) == ["validate-data", "prepare-data", "pretrain", "evaluate", "register"]
    assert 5_000 <= results["validate-data"]["documents"] <= 9_000  # Debian leaves modules out
    assert 5_000_000 <= results["pretrain"]["parameters"] <= 6_000_000
    measured = results["evaluate"]
    assert measured["bits_per_byte"]["value"] < measured["ngram_bits_per_byte"] < measured["xz_bits_per_byte"]
    assert len(measured["samples"]) == 3
    assert all(sample["text"].strip() for sample in measured["samples"])
    assert Path(measured["loss_curve"]).read_bytes().startswith(b"\x89PNG")
    began = time.monotonic()
    second = slipway("demo")
    assert time.monotonic() - began < 25
    assert second.code == 0
    assert "Nothing changed since the last time: every result is reused." in second.err
    assert all(f"{stage}: reused, same settings, same inputs" in second.out for stage in results)
    for sample in measured["samples"]:
        assert f"{sample['prompt']}|" in second.out
