"""The card tells a reviewer what the evidence says, and where the model comes from."""

from typing import Any

from flows.work.card import card, one_line

EVIDENCE: dict[str, Any] = {
    "kind": "base",
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


def test_the_card_shows_what_was_predicted_beside_what_came() -> None:
    lineage = {
        "predicted": {
            "bits_per_byte": 1.95,
            "bits_per_byte_source": "power law",
            "seconds": None,
            "seconds_source": "no run of this model here before",
            "memory_bytes": 1_000_000_000,
            "memory_source": "weights and the rest",
        },
        "measured": {"bits_per_byte": 1.9, "seconds": 61.4, "memory_bytes": 1_200_000_000},
    }
    text = card("tiny", EVIDENCE, lineage)
    assert "| bits per byte on validation documents | 1.950 | 1.900 | power law |" in text
    assert "| seconds of steps | not known | 61 | no run of this model here before |" in text
    assert "| bytes of memory at the peak | 1,000,000,000 | 1,200,000,000 | weights and the rest |" in text
    assert "Predicted" not in card("tiny", EVIDENCE, {"base": "0123"})


def test_the_card_says_what_the_training_took_and_each_time_it_had_to_go_on() -> None:
    restart = {"step": 4, "name": "somewhere", "lost": 2, "tokens": 64, "seconds": 0.5, "pause": 12.0}
    spent = {"device": "cpu", "worker_seconds": 12.34, "failed_worker_seconds": 5.0, "failed_attempts": 1, "money": None}
    back = {"step": 8, "first": 9, "last": 12, "why": "the loss was far above the rest"}
    lineage = {
        "restarts": [restart],
        "rollbacks": [back],
        "skipped_steps": [9, 10],
        "spent": {**spent, "price_source": "no price is known"},
    }
    text = card("tiny", EVIDENCE, lineage)
    assert "- took 12.3 worker-seconds of CPU, and 5.0 in 1 attempt before" in text
    assert "- restarted after step 4: 2 steps lost (64 tokens, 0.5 s of work), at work again 12.0 s after" in text
    assert "- went back to step 8; the batches of steps 9 to 12 are left out: the loss was far above the rest" in text
    assert "- 2 steps skipped: 9, 10" in text


def test_the_card_of_a_classifier_shows_its_rivals_each_label_and_where_it_errs() -> None:
    def value(of: float) -> dict[str, Any]:
        return {"value": of, "low": of - 0.05, "high": of + 0.05, "n": 351}

    evidence = {
        "kind": "classifier",
        "accuracy": {"model": value(0.8), "tfidf": value(0.83), "majority": value(0.2)},
        "macro_f1": {"model": value(0.79), "tfidf": value(0.82), "majority": value(0.03)},
        "classes": [{"label": "numbers", "rows": 16, "predicted": 15, "precision": 0.9, "recall": 0.85, "f1": 0.874}],
        "gates": [{"name": "better than the most frequent label", "observed": "+0.6000 [+0.5500, +0.6500]", "passed": True}],
        "mistakes": [{"text": "Return\n  it", "label": "numbers", "taken_for": "concurrency", "probability": 0.97}],
    }
    text = card("parts", evidence, {"base": "0123", "examples": "4567"})
    assert "**0.800 accuracy** on 351 held-out texts (95 % interval 0.750 to 0.850)." in text
    assert "| TF-IDF with logistic regression | 0.830 | 0.820 |" in text
    assert "| numbers | 16 | 0.90 | 0.85 | 0.87 |" in text
    assert "- passed: better than the most frequent label (+0.6000 [+0.5500, +0.6500])" in text
    assert "- finetuned from: `0123`" in text
    assert "- numbers, taken for concurrency (0.97): Return it" in text


def test_the_card_of_an_assistant_shows_what_finetuning_gained_and_what_it_says() -> None:
    def value(of: float) -> dict[str, Any]:
        return {"value": of, "low": of - 0.05, "high": of + 0.05, "n": 292}

    evidence = {
        "kind": "assistant",
        "bits_per_byte": {"model": value(1.6), "base": value(2.0), "champion": value(1.7)},
        "choice": {name: {"answer": value(share), "question": value(0.55)} for name, share in (("model", 0.85), ("base", 0.51))},
        "ends_by_itself": {**value(0.94), "n": 32, "min_words": 8},
        "gates": [{"name": "answers end by themselves", "observed": "0.938 [0.799, 0.983] of 32", "passed": True}],
        "samples": [{"prompt": "What is\n`a`?", "text": "A thing.\n"}],
    }
    text = card("helper", evidence, {"base": "0123"})
    assert "**1.600 bits per byte of answers** to 292 held-out questions (95 % interval 1.550 to 1.650)." in text
    for row in ("| this model | 1.600 | 85% |", "| the model it was finetuned from | 2.000 | 51% |", "| the champion | 1.700 |  |"):
        assert row in text
    assert "byte for byte: 55%" in text
    assert "with 8 words or more: 94% of 32" in text
    assert "- **What is `a`?** A thing." in text


def test_the_card_names_who_waived_what_until_when_and_what_the_data_is_like() -> None:
    row = {"name": "max_duplicate_share", "words": "share of exact duplicates", "observed": 0.6, "asked": "at most 0.5"}
    waiver = {"expectation": "max_duplicate_share", "who": "ann", "reason": "a refrain\nof songs", "expires": "2027-01-31"}
    warning = {"name": "min_mean_bytes", "words": "bytes of a document, mean", "observed": 12.345, "asked": "at least 20"}
    validation = {"passed": True, "judged": 29, "held": 21, "failed": [], "warned": [warning] * 7, "waived": [{**row, **waiver}]}
    counts = {"rejected": {"empty": 20, "not-json": 32, **{f"r{n}": n for n in range(1, 6)}}, "found": {"pii:email": 5}}
    text = card("tiny", EVIDENCE, {"validation": validation, **counts})
    assert "## Data\n- 21 of 29 expectations hold\n" in text
    assert "- **waived**: share of exact duplicates 0.6, wanted at most 0.5; ann, until 2027-01-31: a refrain of songs" in text
    assert text.count("- warning: bytes of a document, mean 12.35, wanted at least 20") == 5
    assert "- and 2 warnings more" in text
    assert "- rejected rows: 67 (not-json 32, empty 20, r5 5, r4 4, r3 3 and 2 kinds more)" in text
    assert "- found and kept: 5 (pii:email 5)" in text
    assert "## Data" not in card("tiny", EVIDENCE, {})


def test_hundreds_of_files_are_counted_and_not_listed() -> None:
    sources = [{"name": f"{number}.py", "sha256": "0" * 64, "bytes": 1_000} for number in range(700)]
    text = card("tiny", EVIDENCE, {"sources": sources})
    assert "- text: 700 files, 700,000 bytes; `lineage.json` has the sha256 of each" in text
    assert "0.py" not in text


def test_a_continuation_keeps_the_space_that_parts_it_from_its_prompt() -> None:
    assert one_line(" first\n  line ") == " first line"
    assert one_line("ing\n\n") == "ing"
    assert one_line("") == ""
