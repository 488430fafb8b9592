"""Encoding by pieces gives the library's ids, whatever the text; a tokenizer for which it would not is left to the library."""

from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers

from llm.text import pieces
from llm.text.pieces import PieceEncoder
from llm.text.tokenizer import Tokenizer

DTYPE = np.dtype("<u2")
TRAINED = Tokenizer.train(["the cat sat on the mat, don't they? I'll 've 1234 it's  a\n\n b\t\tc é naïve 猫 ½ Ⅳ"] * 3, 400)
HARD = st.sampled_from(
    [" ", "  ", "\n", "\t", "\x1c", "\x1f", "\x85", "\xa0", "\u200b", "\u2028", "\u3000", "\ufeff", "'", "'s", "'S", "’s"]
)
HARDER = st.sampled_from(
    ["1", "²", "½", "Ⅳ", "٣", "é", "e\u0301", "ß", "ǅ", "ª", "猫", "𝕏", "🏽", "_", "-", "<|endoftext|>", "<|im_end|>", "a", "the"]
)
TEXTS = st.lists(HARD | HARDER | st.characters(exclude_categories=["Cs"]), max_size=40).map("".join)


def encoder(tokenizer: Tokenizer = TRAINED) -> PieceEncoder:
    found = PieceEncoder.of(tokenizer, DTYPE)
    assert found is not None
    return found


SHARED = encoder()


@given(st.lists(TEXTS | st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
@example(["a  b", " a ", "  ", "", "it's'll''d", "x\x1cy \x1c\x1cz"])
def test_every_text_has_the_ids_that_the_library_gives_it(texts: list[str]) -> None:
    assert [ids.tolist() for ids in SHARED.encode(texts)] == TRAINED.encode_batch(texts)
    assert SHARED._trusted


def test_every_character_is_what_the_library_takes_it_for() -> None:
    found = encoder()
    for start in (*range(0, 0xD000, 0x1000), 0xE000, 0xF000, 0x1D000, 0x1F000):
        text = "".join(f"a{chr(code)} {chr(code)}1{chr(code)}! " for code in range(start, start + 0x1000))
        assert [ids.tolist() for ids in found.encode([text])] == TRAINED.encode_batch([text])


def test_a_full_memory_of_pieces_begins_anew_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_KEPT", 20)
    found = encoder()
    for number in range(30):
        texts = [f"word{number} and {number * 37} the cat" * 3, "x" * 200]
        assert [ids.tolist() for ids in found.encode(texts)] == TRAINED.encode_batch(texts)
        assert len(found._ids) <= 40
        assert "x" * 200 not in found._ids


def test_gpt2s_own_tokenizer_is_followed(data_folder: Path) -> None:
    tokenizer = Tokenizer.load(data_folder / "gpt2-bpe")
    text = (data_folder / "the-verdict" / "README.md").read_text()
    assert [ids.tolist() for ids in encoder(tokenizer).encode([text, ""])] == tokenizer.encode_batch([text, ""])


def test_tokenizers_of_another_kind_are_left_to_the_library() -> None:
    def of(**parts: object) -> PieceEncoder | None:
        inner = tokenizers.Tokenizer(models.BPE(vocab={"a": 0, "<|endoftext|>": 1}, merges=[]))
        inner.add_special_tokens(["<|endoftext|>"])
        for name, part in parts.items():
            setattr(inner, name, part)
        return PieceEncoder.of(Tokenizer(inner), DTYPE)

    assert of() is None
    assert of(pre_tokenizer=pre_tokenizers.Whitespace()) is None
    assert of(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)) is None
    assert of(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)) is None
    assert of(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False), normalizer=normalizers.NFC()) is None
    assert of(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False)) is not None


def test_a_tokenizer_that_only_looks_as_if_is_found_out_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    found = encoder()
    monkeypatch.setattr(pieces._Cutter, "__call__", lambda cutter, text: list(text))
    texts = ["the cat sat on the mat", "the mat"]
    assert [ids.tolist() for ids in found.encode(texts)] == TRAINED.encode_batch(texts)
    assert not found._trusted
    assert [ids.tolist() for ids in found.encode(texts)] == TRAINED.encode_batch(texts)


def test_ids_that_go_wrong_later_are_an_error_and_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    found = encoder()
    found.encode(["the cat"])
    monkeypatch.setattr(pieces._Cutter, "__call__", lambda cutter, text: list(text))
    monkeypatch.setattr(pieces, "_CHECKED_EVERY", 1)
    with pytest.raises(RuntimeError, match="gives other ids: 'the mat"):
        found.encode(["the mat"])
