"""The card tells a reviewer what the evidence says, and where the model comes from."""

from typing import Any

from flows.work.card import card, one_line

EVIDENCE: dict[str, Any] = {
    "bits_per_byte": {
        "model": {"value": 2.0, "low": 1.95, "high": 2.05, "n": 40},
        "ngram": {"value": 2.2, "low": 2.1, "high": 2.3, "n": 40},
        "champion": {"value": 1.9, "low": 1.85, "high": 1.95, "n": 40},
        "xz": {"value": 2.5},
    },
    "gates": [{"name": "not worse than the champion", "observed": "+0.1000 [+0.0900, +0.1100]", "passed": False}],
    "samples": [{"prompt": "Return the", "text": " first\n  line"}, {"prompt": "This", "text": ".\n"}],
}


def test_the_card_shows_scores_beside_their_rivals_and_a_failed_gate() -> None:
    text = card("tiny", EVIDENCE, {"run": "pretrain-a-1", "sources": [{"name": "a.txt", "sha256": "0123456789abcdef", "bytes": 5}]})
    assert "**2.000 bits per byte** on 40 held-out documents (95 % interval 1.950 to 2.050)." in text
    for row in ("| this model | 2.000 |", "| the champion | 1.900 |", "| order-3 n-gram model | 2.200 |", "| xz | 2.500 |"):
        assert row in text
    assert "- **failed**: not worse than the champion (+0.1000 [+0.0900, +0.1100])" in text
    assert "- run: `pretrain-a-1`" in text
    assert "- text: a.txt, sha256 `0123456789ab`" in text
    assert "- **Return the** first line" in text


def test_hundreds_of_files_are_counted_and_not_listed() -> None:
    sources = [{"name": f"{number}.py", "sha256": "0" * 64, "bytes": 1_000} for number in range(700)]
    text = card("tiny", EVIDENCE, {"sources": sources})
    assert "- text: 700 files, 700,000 bytes; `lineage.json` has the sha256 of each" in text
    assert "0.py" not in text


def test_a_continuation_keeps_the_space_that_parts_it_from_its_prompt() -> None:
    assert one_line(" first\n  line ") == " first line"
    assert one_line("ing\n\n") == "ing"
    assert one_line("") == ""
