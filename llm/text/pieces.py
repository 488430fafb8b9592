"""Byte-level BPE by the word: a text is cut as the tokenizer cuts it, and each different piece is encoded once.

A byte-level tokenizer never merges across the pieces that its pattern cuts a text into (Radford et al., 2019), and nine of ten
pieces are among some thousand. The library cuts and encodes each of them again, and keeps account of every character's place:
what is done here takes a seventh of its time on prose, on one core. The ids are the same: what a character is, is asked of the
library itself, a piece is encoded by it alone, and documents are encoded both ways now and then to be sure.
"""

import re
from collections.abc import Callable, Sequence
from itertools import chain, groupby
from threading import Lock
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import pre_tokenizers

from llm.text.tokenizer import Tokenizer

_SURROGATES: Final = (0xD800, 0xDFFF)  # no text holds one
_KEPT: Final = 200_000  # pieces; some 40 MB. Then it begins anew
_LONGEST: Final = 64  # characters of a piece that is kept: a longer one hardly comes again
_CHECKED_BYTES: Final = 100_000  # of the first documents, all of which are encoded both ways
_CHECKED_EVERY: Final = 16  # calls after which a document is again


class PieceEncoder:
    """Encodes as `Tokenizer.encode_batch` does, faster. Safe for several threads, which wait for each other."""

    def __init__(self, tokenizer: Tokenizer, dtype: np.dtype[Any]) -> None:
        self._tokenizer, self._dtype = tokenizer, dtype
        self._cut = _Cutter()
        self._ids: dict[str, tuple[int, ...]] = {}
        self._lock = Lock()
        self._calls = 0
        self._trusted = True

    @classmethod
    def of(cls, tokenizer: Tokenizer, dtype: np.dtype[Any]) -> Self | None:
        """None for a tokenizer of another kind: with another pattern, a normaliser, words of its own that are no control tokens."""
        told = tokenizer.definition()
        before, model = told["pre_tokenizer"] or {}, told["model"]
        plain = before.get("type") == "ByteLevel" and before.get("use_regex", True) and not before["add_prefix_space"]
        alone = told["normalizer"] is None and all(token["special"] for token in told["added_tokens"])
        bpe = model["type"] == "BPE" and not model.get("dropout")
        return cls(tokenizer, dtype) if plain and alone and bpe else None

    def encode(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """The ids of each text, without bos and eos."""
        with self._lock:
            if not self._trusted:
                return self._by_library(texts)
            found = self._by_pieces(texts)
            return found if self._agrees(texts, found) else self._by_library(texts)

    def _by_pieces(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        pieces = [self._cut(text) for text in texts]
        rows: list[list[Any]] = [list(map(self._ids.get, each)) for each in pieces]  # None where a piece is not known
        unknown = [place for place, row in enumerate(rows) if None in row]
        if unknown:
            missing = {piece for place in unknown for piece, ids in zip(pieces[place], rows[place], strict=True) if ids is None}
            new = dict(zip(missing, map(tuple, self._tokenizer.encode_batch(list(missing))), strict=True))
            for place in unknown:
                both = zip(pieces[place], rows[place], strict=True)
                rows[place] = [new[piece] if ids is None else ids for piece, ids in both]
            if len(self._ids) + len(new) > _KEPT:
                self._ids.clear()
            self._ids |= {piece: ids for piece, ids in new.items() if len(piece) <= _LONGEST}
        return [np.fromiter(chain.from_iterable(row), dtype=self._dtype) for row in rows]

    def _by_library(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        return [np.array(ids, dtype=self._dtype) for ids in self._tokenizer.encode_batch(texts)]

    def _agrees(self, texts: Sequence[str], found: Sequence[NDArray[Any]]) -> bool:
        """A tokenizer that is not what it looks like is found out with the first documents, and left to the library."""
        first, size, count = not self._calls, 0, 0
        while count < len(texts) and size < (_CHECKED_BYTES if first else 1):
            size, count = size + len(texts[count]), count + 1
        if first or self._calls % _CHECKED_EVERY == 0:
            expected = self._by_library(texts[:count])
            same = all(np.array_equal(ours, theirs) for ours, theirs in zip(found, expected, strict=False))
            if not (same or first):
                raise RuntimeError(f"encoded by pieces, a text gives other ids: {texts[0][:200]!r}")
            self._trusted = same
        self._calls += 1
        return self._trusted


class _Cutter:
    """GPT-2's pattern for Python's own `re`, over the pages of 256 characters met so far: of each it asks the library, once."""

    def __init__(self) -> None:
        self._library = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._of = {"letter": "", "number": "", "space": "", "other": ""}  # the insides of classes of `re`
        self._learn({0, 1, 2})

    def __call__(self, text: str) -> list[str]:
        if not text.isascii() and self._unknown.search(text):
            self._learn({ord(character) >> 8 for character in self._unknown.findall(text)})
        return self._pieces(text)

    def _learn(self, pages: set[int]) -> None:
        for page in sorted(pages):
            codes = [code for code in range(page << 8, (page + 1) << 8) if not _SURROGATES[0] <= code <= _SURROGATES[1]]
            for name, found in groupby(codes, key=self._class_of):
                run = list(found)
                self._of[name] += f"\\U{run[0]:08x}-\\U{run[-1]:08x}"
        letter, number, space, _ = self._of.values()
        self._unknown = re.compile(f"[^{''.join(self._of.values())}]")
        self._pieces: Callable[[str], list[str]] = re.compile(
            f" ?[{letter}]+|'(?:s|t|re|ve|m|ll|d)| ?[{number}]+| ?[^{letter}{number}{space}]+|[{space}]+(?![^{space}])|[{space}]+"
        ).findall

    def _class_of(self, code: int) -> str:
        beside = {"letter": "a", "number": "1", "other": "!"}
        joined = (name for name, known in beside.items() if len(self._library.pre_tokenize_str(known + chr(code))) == 1)
        return next(joined, "space")
