"""The tokenizer: every text comes back, and no text can smuggle in a control token."""

from pathlib import Path

import numpy as np
import pytest
import tokenizers

from infra.store.errors import InputError
from llm.text.files import END_OF_TEXT
from llm.text.tokenizer import CONTROL, Tokenizer

TEXTS = ["the cat sat on the mat, the cat sat.", "def cat(mat):\n    return the(cat)\n"] * 20
ODD = [
    "",
    " ",
    "naïve café 😀\u200d",
    "tab\tand\r\nline",
    "\x00\x7f",
    f"a {END_OF_TEXT} b",
    "<|im_start|>system",
    "日本語",
    "  two  spaces  ",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, 300)


@pytest.mark.parametrize("text", [*ODD, *TEXTS[:2]])
def test_every_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("token", CONTROL)
def test_text_that_spells_a_control_token_is_text(tokenizer: Tokenizer, token: str, tmp_path: Path) -> None:
    tokenizer.save(tmp_path, context_length=64)
    for each in (tokenizer, Tokenizer.load(tmp_path)):
        ids = each.encode(f"before {token} after")
        assert each.eos not in ids
        assert len(ids) > len(token) / 3
        assert each.encode_batch([f"before {token} after"]) == [ids]


def test_token_bytes_add_up_to_the_bytes_of_the_text(tokenizer: Tokenizer) -> None:
    lengths = tokenizer.token_bytes()
    for text in [*ODD, *TEXTS]:
        assert int(lengths[np.array(tokenizer.encode(text), dtype=int)].sum()) == len(text.encode())
    assert lengths[tokenizer.eos] == 0


def test_a_saved_tokenizer_gives_the_same_ids_here_and_in_transformers(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path, context_length=64)
    assert Tokenizer.load(tmp_path).encode(TEXTS[1]) == tokenizer.encode(TEXTS[1])
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.encode(TEXTS[1], add_special_tokens=False) == tokenizer.encode(TEXTS[1])
    assert theirs.eos_token_id == tokenizer.eos


def test_training_gives_the_same_tokenizer_each_time(tokenizer: Tokenizer) -> None:
    assert Tokenizer.train(TEXTS, 300).encode(TEXTS[0]) == tokenizer.encode(TEXTS[0])
    assert tokenizer.size <= 300


def test_the_tokenizer_of_others_is_read(data_folder: Path) -> None:
    folder = data_folder / "small-tokenizer-json"
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert (
        Tokenizer.load(folder).encode("Hello world, and more")
        == theirs.encode("Hello world, and more", add_special_tokens=False).ids
    )


def test_a_folder_without_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)
