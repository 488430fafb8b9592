"""SentencePiece models: the ids are those of `sentencepiece` itself, and what would differ is refused by name."""

import json
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.store.errors import DamagedError, InputError
from llm.text.tokenizer import Tokenizer
from tests.llm.text.models import BYTE, CONTROL, NASTY, PIECES, UNUSED, USER_DEFINED, write_model

DEFINED = [*PIECES, ("<X>", 0.0, USER_DEFINED), ("<XY>", 0.0, USER_DEFINED), ("[INST]", 0.0, CONTROL)]
KINDS: dict[str, tuple[list[tuple[str, float, int]], dict[int, int | bytes], dict[int, int | bytes]]] = {
    "as Llama 2 has it": (PIECES, {}, {}),
    "no space before the text": (PIECES, {}, {3: 0}),
    "spaces squeezed": (PIECES, {}, {4: 1}),
    "spaces squeezed, none before the text": (PIECES, {}, {3: 0, 4: 1}),
    "without byte fallback": ([piece for piece in PIECES if piece[2] != BYTE], {35: 0}, {}),
    "user-defined pieces": (DEFINED, {}, {}),
    "user-defined pieces, no space before the text": (DEFINED, {}, {3: 0}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_gets_the_ids_and_comes_back_as_with_sentencepiece(kind: str, tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    pieces, trainer, normalizer = KINDS[kind]
    path = write_model(tmp_path / "tokenizer.model", pieces, trainer=trainer, normalizer=normalizer)
    theirs, ours = sentencepiece.SentencePieceProcessor(model_file=str(path)), Tokenizer.load(path)
    dice = random.Random(5)
    parts = [*NASTY, *"aabt h\n", "the", " cat", "aa", "<X>", "<XY>", "[INST]", "\U0010ffff"]
    texts = [*NASTY, *("".join(dice.choices(parts, k=dice.randrange(2, 9))) for _ in range(300))]
    for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
        assert ids == theirs.encode(text), text
        if ours.special.unk not in ids and not ("squeezed" in kind and "▁" in text):  # what spells an escaped space is lost there
            assert ours.decode(ids) == theirs.decode(ids), text


def test_a_known_model_gives_known_ids_with_no_package_beside_it(tmp_path: Path) -> None:
    ours = Tokenizer.load(write_model(tmp_path / "tokenizer.model"))
    first = 3 + 256  # after the control and the byte pieces, in the order in which they are merged
    assert ours.encode("the cat") == [first + 2, first + 15]
    assert ours.encode(" aaaaa") == [first + 3, first + 6, first + 21 + 2]
    assert ours.encode("\n") == [first + 21, 3 + 10]
    assert ours.encode("é本") == [first + 21, first + 21 + 11, 3 + 0xE6, 3 + 0x9C, 3 + 0xAC]
    assert ours.decode([1, *ours.encode("the  cat"), 2]) == "the  cat"


def test_the_shared_rows_of_mistral_are_met_id_for_id_and_back(data_folder: Path) -> None:
    check_rows(Tokenizer.load(data_folder / "mistral-spm-v1"), data_folder / "mistral-spm-v1/parity.jsonl")


def test_bytes_add_up_to_those_of_the_text_and_the_space_before_it(tmp_path: Path) -> None:
    ours = Tokenizer.load(write_model(tmp_path / "tokenizer.model"))
    lengths = ours.token_bytes()
    for text in ["the cat", "é日本\n", "aaa  b"]:
        assert int(lengths[ours.encode(text)].sum()) == 1 + len(text.encode())
    assert lengths[:3].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("pieces", "trainer", "normalizer", "said"),
    [
        (PIECES, {3: 1}, {}, "a unigram model, not BPE"),
        (PIECES, {3: 3}, {}, "a word model, not BPE"),
        (PIECES, {24: 1}, {}, "treat_whitespace_as_suffix"),
        (PIECES, {}, {5: 0}, "escape_whitespaces=false"),
        (PIECES, {}, {1: b"nmt_nfkc", 2: b"\x04table"}, r"replaces characters \(nmt_nfkc\)"),
        (DEFINED, {}, {4: 1}, "user-defined pieces in a text whose spaces are squeezed"),
        ([*PIECES, ("zz", -99.0, UNUSED)], {}, {}, "unused pieces"),
        ([*PIECES, ("the", -99.0, 1), ("the", -98.0, 1)], {}, {}, "the same piece twice"),
        (PIECES[1:], {}, {}, "0 unknown pieces"),
        (PIECES[:200], {}, {}, "byte fallback without 256 byte pieces"),
    ],
)
def test_a_model_that_would_get_other_ids_is_refused_by_name(
    pieces: list[tuple[str, float, int]],
    trainer: Mapping[int, int | bytes],
    normalizer: Mapping[int, int | bytes],
    said: str,
    tmp_path: Path,
) -> None:
    path = write_model(tmp_path / "tokenizer.model", pieces, trainer=trainer, normalizer=normalizer)
    with pytest.raises(InputError, match=said):
        Tokenizer.load(path)


def test_half_a_file_is_called_damaged_and_another_kind_is_not_guessed(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tokenizer.model")
    whole = path.read_bytes()
    for length in (1, 2, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            Tokenizer.load(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(DamagedError, match="not a whole SentencePiece model"):
        Tokenizer.load(path)
    path.write_text("IQ== 0\nIg== 1\n")
    with pytest.raises(InputError, match="not a SentencePiece model"):
        Tokenizer.load(path)


def check_rows(tokenizer: Tokenizer, path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) > 200
    for row, ids in zip(rows, tokenizer.encode_batch([row["text"] for row in rows]), strict=True):
        assert ids == row["ids"] == tokenizer.encode(row["text"]), row["text"]
        assert tokenizer.decode(row["ids"]) == row["text"]
