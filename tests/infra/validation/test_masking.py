"""No report tells what is somebody's own, and none is masked beyond recognition."""

import json
from pathlib import Path

import pytest

from infra.validation import excerpt, mask

PLANTED = (
    "cy.tester@example.com",
    "495 Nowhere Street",
    "+1 202-555-0193",
    "(202) 555-0193",
    "4111 1111 1111 1111",
    "378282246310005",
    "192.0.2.131",
    "2001:db8::8a2e:370:7334",
    "000-92-6046",
    "GB33BUKB20201555555555",
    "DE89 3704 0044 0532 0130 00",
    "sk-FAKEf44726d205fbcb797b78a2e1f6701825",
    "AKIAIOSFODNN7EXAMPLE",
)


@pytest.mark.parametrize("secret", PLANTED)
def test_what_may_be_somebodys_is_not_shown(secret: str) -> None:
    shown = mask(f"Contact Cy Tester: {secret}. Or not.")
    assert secret not in shown
    assert shown.startswith("Contact Cy Tester: ")
    assert shown.endswith(". Or not.")
    assert sum(character.isalnum() for character in shown[19:-9]) <= 12  # of an address its last word may stay


@pytest.mark.parametrize("secret", ["cy.tester@exam", "4111 1111 1", "192.0.2.1", "sk-FAKEf44726", "+1 202-555-"])
def test_what_was_cut_off_half_is_masked_as_well(secret: str) -> None:
    assert secret not in mask(f"Contact Cy: {secret}", cut_off=True)
    assert mask("a word that was cut in the midd", cut_off=True) == "a word that was cut in the midd"


def test_prose_is_left_alone() -> None:
    for text in ("In 1984, 12 of 100 came; chapter 3.2.1 says so.", "e.g. f:1, 10:30, $1,000.50", "a self-evident-truth-of-words"):
        assert mask(text) == text


def test_an_excerpt_is_one_line() -> None:
    assert excerpt("a\nb\x1b[2J" + "c" * 20, 12) == "a\\nb\\x1b[2Jccccc…"


def test_nothing_planted_in_the_messy_documents_is_shown(data_folder: Path) -> None:
    folder = data_folder / "messy-synthetic"
    labels = json.loads((folder / "documents.labels.json").read_text())
    for line in (folder / "documents.jsonl").read_text(errors="replace").splitlines():
        row = json.loads(line)
        kind = labels[row["id"]]
        if kind.startswith("pii:"):
            planted = row["text"].rpartition(": ")[2].rstrip(".").split(",")[0]
            assert planted not in mask(row["text"]), (kind, planted)
