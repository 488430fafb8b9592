"""Byte-level BPE (Sennrich et al., 2016; Radford et al., 2019) through the `tokenizers` library."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from infra.store.errors import DamagedError, InputError

END_OF_TEXT: Final = "<|endoftext|>"
CONTROL: Final = (
    END_OF_TEXT,
    "<|im_start|>",
    "<|im_end|>",
)  # the chat markers are there from the start, so that a base model can be finetuned on chats
FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"


class Tokenizer:
    """Text to ids and back. Text that spells a control token is text: only code puts a control token into a sequence."""

    def __init__(self, inner: tokenizers.Tokenizer, *, eos: str = END_OF_TEXT, bos: str | None = None) -> None:
        self._inner = inner
        self._inner.encode_special_tokens = True
        self._inner.no_truncation()
        self._inner.no_padding()
        end = inner.token_to_id(eos)
        if end is None:
            raise InputError(
                f"the tokenizer has no token {eos!r} to end a document",
                where=FILE,
                mend="Name the right eos_token in tokenizer_config.json.",
            )
        self.eos: int = end
        self.bos: int | None = inner.token_to_id(bos) if bos else None

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary: int) -> Self:
        """Learns at most `vocabulary` tokens: 256 bytes, the control tokens, and merges while there are pairs to merge."""
        inner = tokenizers.Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=list(CONTROL),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        inner.train_from_iterator(texts, trainer)
        return cls(inner)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """From `tokenizer.json`, with the end token that `tokenizer_config.json` names."""
        path, settings = folder / FILE, folder / CONFIG
        if not path.is_file():
            raise InputError("no tokenizer", where=str(path), mend="A model folder has a tokenizer.json.")
        try:
            named = json.loads(settings.read_text()) if settings.is_file() else {}
            inner = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise DamagedError(f"not a tokenizer ({error})", where=str(path), mend="Fetch the model again.") from None
        return cls(inner, eos=_token(named.get("eos_token")) or END_OF_TEXT, bos=_token(named.get("bos_token")))

    def save(self, folder: Path, *, context_length: int) -> None:
        """Writes `tokenizer.json` and the `tokenizer_config.json` that `transformers` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        self._inner.save(str(folder / FILE))
        spelled = self._spelled(self.eos)
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": spelled,
            "pad_token": spelled,
            "bos_token": self._spelled(self.bos) if self.bos is not None else None,
            "clean_up_tokenization_spaces": False,
            "model_max_length": context_length,
        }
        (folder / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")

    @property
    def size(self) -> int:
        """Ids are 0 to size - 1."""
        return self._inner.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        return self._inner.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """On all cores."""
        return [encoding.ids for encoding in self._inner.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_marked(self, text: str) -> list[int]:
        """As everybody else reads a text: what spells a control token is one. For comparison alone, never for what a user wrote."""
        self._inner.encode_special_tokens = False
        try:
            return self.encode(text)
        finally:
            self._inner.encode_special_tokens = True

    def control_tokens(self) -> dict[str, int]:
        """The control tokens and their ids: what no text is encoded to."""
        added = self._inner.get_added_tokens_decoder()
        return {token.content: index for index, token in sorted(added.items()) if token.special}

    def with_control_tokens(self, names: Sequence[str]) -> "Tokenizer":
        """This tokenizer, or a copy that has these control tokens too, with the ids after all others."""
        missing = [name for name in names if name not in self.control_tokens()]
        if not missing:
            return self
        inner = tokenizers.Tokenizer.from_str(self._inner.to_str())
        inner.add_special_tokens([tokenizers.AddedToken(name, special=True, normalized=False) for name in missing])
        return Tokenizer(inner, eos=self._spelled(self.eos), bos=self._spelled(self.bos) if self.bos is not None else None)

    def decode(self, ids: Sequence[int]) -> str:
        """The text, without control tokens. An incomplete UTF-8 character at an end becomes U+FFFD."""
        return self._inner.decode(list(ids), skip_special_tokens=True)

    def token_bytes(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The UTF-8 bytes each id stands for, 0 for a control token: (size,)."""
        added = self._inner.get_added_tokens_decoder()
        lengths = np.zeros(self.size, dtype=np.int64)
        for token, index in self._inner.get_vocab(with_added_tokens=False).items():
            if index not in added:
                lengths[index] = len(token)  # the byte-level alphabet spells each byte as one character
        return lengths

    def _spelled(self, index: int) -> str:
        spelled = self._inner.id_to_token(index)
        assert spelled is not None, f"no token {index}"
        return spelled


def _token(entry: object) -> str | None:
    """A token of tokenizer_config.json: a string, or an object with its content."""
    if isinstance(entry, dict):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else None
