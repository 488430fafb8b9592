"""Passages: long documents cut where a reader would, nothing lost, whoever hands the text over in whatever pieces."""

import random

import pytest

from llm.data.documents import Document, cut, cut_document

PROSE = "\n\n".join(f"Paragraph {n} is of some length.\n" + "It goes on, line by line, as they do.\n" * (n % 7) for n in range(200))


def squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("text", [PROSE, "word " * 2000, "длинное слово " * 500, "语" * 3000, "x" * 9000, "😀" * 900, "a\n" * 4000])
@pytest.mark.parametrize("max_bytes", [1, 3, 100, 1000])
def test_passages_keep_to_the_length_and_lose_no_word(text: str, max_bytes: int) -> None:
    passages = list(cut([text], max_bytes))
    assert squeezed("".join(passages)) == squeezed(text)
    longest = max(len(passage.encode()) for passage in passages)
    assert longest <= max(max_bytes, 4)  # a character is never cut


def test_a_cut_falls_between_paragraphs_and_leaves_no_scraps() -> None:
    passages = list(cut([PROSE], 1000))
    assert all(passage.startswith("Paragraph") for passage in passages)
    assert min(len(passage) for passage in passages) > 250
    assert [len(passage) for passage in cut(["x" * 1001], 1000)] == [751, 250]


def test_lines_are_cut_where_there_is_no_paragraph_and_words_where_there_is_no_line() -> None:
    assert list(cut(["one two\nthree four\nfive six"], 20)) == ["one two\nthree four", "five six"]
    assert list(cut(["one two three four five six"], 15)) == ["one two three", "four five six"]


def test_a_file_read_in_pieces_is_cut_as_if_it_were_read_at_once() -> None:
    chance = random.Random(1)
    places = sorted(chance.sample(range(len(PROSE)), 150))
    pieces = [PROSE[start:end] for start, end in zip([0, *places], [*places, len(PROSE)], strict=True)]
    assert "".join(pieces) == PROSE
    assert list(cut(pieces, 500)) == list(cut([PROSE], 500))
    assert list(cut(pieces, 0)) == [PROSE]


def test_a_document_that_fits_is_left_exactly_as_it_is() -> None:
    text = "\n\n  indented, and blank lines around \n\n"
    assert list(cut_document("f:1", "f", [text], len(text))) == [Document("f:1", "f:1", "f", text)]
    assert list(cut_document("f:1", "f", [], 10)) == [Document("f:1", "f:1", "f", "")]


def test_passages_name_the_document_they_come_from() -> None:
    passages = list(cut_document("f:7", "f", ["one two\n\nthree"], 8))
    assert passages == [Document("f:7.1", "f:7", "f", "one two"), Document("f:7.2", "f:7", "f", "three")]
    assert list(cut_document("f:7", "f", ["one\n" + "\n" * 20], 8)) == [Document("f:7", "f:7", "f", "one")]
