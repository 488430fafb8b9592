"""Text to token ids and back, through the `tokenizers` library.

Trained here is byte-level BPE (Sennrich et al., 2016; Radford et al., 2019).
"""

import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from infra.store.errors import InputError
from llm.text.files import CONFIG, END_OF_TEXT, FILE, read
from llm.text.special import DoubledBosError, Special

_BYTE: Final = re.compile("<0x[0-9A-F]{2}>")
_SPACE: Final = "\u2581"
CONTROL: Final = (
    END_OF_TEXT,
    "<|im_start|>",
    "<|im_end|>",
)  # the chat markers are there from the start, so that a base model can be finetuned on chats


class Tokenizer:
    """Text to ids and back. Text that spells a control token is text: only code puts a control token into a sequence.

    bos, pad, unk: how they are spelled, where there are such tokens. add_bos, add_eos: whether a sequence begins with bos and, for
    others, ends with eos; where it is not said, bos is there to be used. `encode` itself adds neither: who makes a sequence does.
    """

    def __init__(
        self,
        inner: tokenizers.Tokenizer,
        *,
        eos: str = END_OF_TEXT,
        bos: str | None = None,
        pad: str | None = None,
        unk: str | None = None,
        add_bos: bool | None = None,
        add_eos: bool = False,
    ) -> None:
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
        begin, padding = self._index(bos), self._index(pad)
        self.special = Special(
            eos=end,
            bos=begin,
            pad=end if padding is None else padding,
            unk=self._index(unk),
            add_bos=begin is not None and add_bos is not False,
            add_eos=add_eos,
        )
        if _surroundings(inner) != (self._names(self.bos), self._names(end if add_eos else None)):
            self._surround()

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
    def load(cls, path: Path | str) -> Self:
        """From a folder, or one of its files: tokenizer.json, GPT-2's vocabulary and merges, or a SentencePiece model.

        `tokenizer_config.json` beside it names the control tokens. Raises InputError for what cannot be read, or not faithfully.
        """
        found = read(Path(path))
        before, after = _surroundings(found.inner)
        eos, bos = found.roles.get("eos_token", END_OF_TEXT), found.roles.get("bos_token")
        if found.add_bos is None:
            bos = before[0] if bos is None and len(before) == 1 else bos
            if len(before) > 1 and set(before) == {bos}:
                raise DoubledBosError(
                    f"it puts {bos} before a text {len(before)} times",
                    where=found.where,
                    mend="Leave one of them in its post_processor.",
                )
            if before not in {(), (bos,)} or after not in {(), (eos,)}:
                raise InputError(
                    f"it puts {[*before]} before a text and {[*after]} after it, which are not its bos {bos} and eos {eos}",
                    where=found.where,
                    mend="Name the right bos_token and eos_token in tokenizer_config.json.",
                )
        loaded = cls(
            found.inner,
            eos=eos,
            bos=bos,
            pad=found.roles.get("pad_token"),
            unk=found.roles.get("unk_token"),
            add_bos=bool(before) if found.add_bos is None else found.add_bos,
            add_eos=bool(after) if found.add_eos is None else found.add_eos,
        )
        loaded._check_text_stays_text(found.where)
        return loaded

    def save(self, folder: Path, *, context_length: int) -> None:
        """Writes `tokenizer.json` and the `tokenizer_config.json` that `transformers` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        self._inner.save(str(folder / FILE))
        special = self.special
        settings: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": self._spelled(special.eos),
            "pad_token": self._spelled(special.pad),
            "bos_token": None if special.bos is None else self._spelled(special.bos),
            "add_bos_token": special.add_bos,
            "add_eos_token": special.add_eos,
            "clean_up_tokenization_spaces": False,
            "model_max_length": context_length,
        }
        if special.unk is not None:
            settings["unk_token"] = self._spelled(special.unk)
        (folder / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")

    @property
    def size(self) -> int:
        """Ids are 0 to size - 1."""
        return self._inner.get_vocab_size(with_added_tokens=True)

    @property
    def eos(self) -> int:
        """What ends a document."""
        return self.special.eos

    @property
    def bos(self) -> int | None:
        """What begins each sequence; None where none does, though there may be a token of that name."""
        return self.special.bos if self.special.add_bos else None

    def encode(self, text: str, *, control: bool = False) -> list[int]:
        """The ids of a text, without bos and eos. control: what spells a control token is one; never for what a user wrote."""
        return (self._marking if control else self._inner).encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """On all cores."""
        return [encoding.ids for encoding in self._inner.encode_batch_fast(list(texts), add_special_tokens=False)]

    def definition(self) -> dict[str, Any]:
        """All of it, as `tokenizer.json` has it."""
        told: dict[str, Any] = json.loads(self._inner.to_str())
        return told

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
        special = self.special
        bos, pad, unk = (None if index is None else self._spelled(index) for index in (special.bos, special.pad, special.unk))
        eos = self._spelled(special.eos)
        return Tokenizer(inner, eos=eos, bos=bos, pad=pad, unk=unk, add_bos=special.add_bos, add_eos=special.add_eos)

    def decode(self, ids: Sequence[int]) -> str:
        """The text, without control tokens. An incomplete UTF-8 character at an end becomes U+FFFD."""
        return self._inner.decode(list(ids), skip_special_tokens=True)

    def token_bytes(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The UTF-8 bytes each id stands for, 0 for a control token: (size,).

        The space that SentencePiece puts before a text counts, though the text has none there.
        """
        added = self._inner.get_added_tokens_decoder()
        lengths = np.zeros(self.size, dtype=np.int64)
        spelled_in_bytes = "ByteLevel" in _state(self._inner.decoder)
        for token, index in self._inner.get_vocab(with_added_tokens=True).items():
            if index in added:
                lengths[index] = 0 if added[index].special else len(token.replace(_SPACE, " ").encode())
            elif spelled_in_bytes:
                lengths[index] = len(token)  # each byte is spelled as one character
            else:
                lengths[index] = 1 if _BYTE.fullmatch(token) else len(token.replace(_SPACE, " ").encode())
        return lengths

    @cached_property
    def _marking(self) -> tokenizers.Tokenizer:
        """A second one, since the switch belongs to a whole tokenizer, and others may be encoding."""
        inner = tokenizers.Tokenizer.from_str(self._inner.to_str())
        inner.encode_special_tokens = False
        return inner

    def _check_text_stays_text(self, where: str) -> None:
        control = {name: index for name, index in self.control_tokens().items() if index != self.special.unk}
        for (name, index), ids in zip(control.items(), self.encode_batch(list(control)), strict=True):
            if index in ids:
                raise InputError(
                    f"the tokenizer reads a text that spells {name} as that control token",
                    where=where,
                    mend="Use a BPE tokenizer: a Unigram or word tokenizer looks whole words up.",
                )

    def _surround(self) -> None:
        """What others put around a text, as `special` says."""
        bos, eos = self._names(self.bos), self._names(self.eos if self.special.add_eos else None)
        used = [(name, self._inner.token_to_id(name)) for name in dict.fromkeys((*bos, *eos))]
        single, second = [*bos, "$A", *eos], [f"{name}:1" for name in (*bos, "$B", *eos)]
        self._inner.post_processor = processors.TemplateProcessing(single=single, pair=[*single, *second], special_tokens=used)

    def _names(self, index: int | None) -> tuple[str, ...]:
        return () if index is None else (self._spelled(index),)

    def _index(self, name: str | None) -> int | None:
        return None if name is None else self._inner.token_to_id(name)

    def _spelled(self, index: int) -> str:
        spelled = self._inner.id_to_token(index)
        assert spelled is not None, f"no token {index}"
        return spelled


def _surroundings(inner: tokenizers.Tokenizer) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tokens that others, encoding a text, put before and after it."""
    before: list[str] = []
    after: list[str] = []
    state = json.loads(_state(inner.post_processor) or "{}")
    for processor in state.get("processors", [state]):
        if processor.get("type") in {"RobertaProcessing", "BertProcessing"}:
            before.append(processor["cls"][0])
            after.append(processor["sep"][0])
        elif processor.get("type") == "TemplateProcessing":
            side = before
            for piece in processor["single"]:
                if "Sequence" in piece:
                    side = after
                else:
                    side += processor["special_tokens"][piece["SpecialToken"]["id"]]["tokens"]
    return tuple(before), tuple(after)


def _state(part: Any) -> str:
    """A part of a tokenizer as JSON: the library shows it in no other way."""
    return "" if part is None else part.__getstate__().decode()
