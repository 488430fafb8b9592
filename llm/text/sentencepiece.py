"""SentencePiece models (Kudo & Richardson, 2018; Llama 2, Mistral): read without protobuf, turned into a `tokenizers` BPE.

The file is a protobuf message, sentencepiece_model.proto of github.com/google/sentencepiece: pieces with scores, and how a
text is normalised. What would change an id and is not carried over here is refused by name.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers

from infra.store.errors import DamagedError, InputError

_SPACE: Final = "\u2581"  # how a piece spells a space
_BPE: Final = 2
_ALGORITHMS: Final = {1: "unigram", 3: "word", 4: "char"}
_PIECES, _TRAINER, _NORMALIZER, _DENORMALIZER = 1, 2, 3, 5  # the fields of ModelProto
_ROLES: Final = {"unk_token": (45, "<unk>"), "bos_token": (46, "<s>"), "eos_token": (47, "</s>"), "pad_token": (48, "<pad>")}


class Kind(IntEnum):
    """What a piece is for. A text is never split into unknown, control and byte pieces by their spelling."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4  # always one token where a text spells it
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """A token: of two that could be merged, the one with the higher score is."""

    text: str
    score: float
    kind: Kind


@dataclass(frozen=True)
class SentencePieceModel:
    """What a model file says, as far as it is carried over."""

    pieces: tuple[Piece, ...]
    byte_fallback: bool
    add_prefix: bool
    squeeze_spaces: bool
    roles: Mapping[str, str]

    def of_kind(self, kind: Kind) -> list[str]:
        return [piece.text for piece in self.pieces if piece.kind is kind]


def read_model(path: Path) -> SentencePieceModel:
    """Raises InputError for what is another kind of file or model, DamagedError for half a file."""
    data = path.read_bytes()
    if not data.startswith(b"\x0a"):
        raise InputError(
            "not a SentencePiece model (a tiktoken file, as Llama 3's first release has, would be text)",
            where=str(path),
            mend="Put the tokenizer.json of the same model beside it.",
        )
    try:
        pieces, parts = [], {_TRAINER: b"", _NORMALIZER: b"", _DENORMALIZER: b""}
        for number, value in _fields(data):
            if number == _PIECES:
                pieces.append(_piece(_bytes(value)))
            elif number in parts:
                parts[number] += _bytes(value)  # a message in several parts counts as one
        trainer, normalizer, denormalizer = (dict(_fields(parts[part])) for part in (_TRAINER, _NORMALIZER, _DENORMALIZER))
        _check(path, pieces, trainer, normalizer, denormalizer)
        controls = {piece.text for piece in pieces if piece.kind in {Kind.CONTROL, Kind.UNKNOWN}}
        named = {role: _text(trainer, field, usual) for role, (field, usual) in _ROLES.items()}
        return SentencePieceModel(
            pieces=tuple(pieces),
            byte_fallback=bool(trainer.get(35, 0)),
            add_prefix=bool(normalizer.get(3, 1)),
            squeeze_spaces=bool(normalizer.get(4, 1)),
            roles={role: name for role, name in named.items() if name in controls},
        )
    except (IndexError, ValueError, TypeError, struct.error) as error:
        raise DamagedError(f"not a whole SentencePiece model ({error})", where=str(path), mend="Fetch the model again.") from None


def to_tokenizer(model: SentencePieceModel) -> tokenizers.Tokenizer:
    """The same ids for every text, and the same text for the ids of a text."""
    vocabulary = {piece.text: index for index, piece in enumerate(model.pieces)}
    unknown = model.of_kind(Kind.UNKNOWN)
    inner = tokenizers.Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=_merges(model.pieces),
            unk_token=unknown[0],
            fuse_unk=True,
            byte_fallback=model.byte_fallback,
        )
    )
    inner.normalizer = _normalizer(model)
    inner.decoder = _decoder(model)
    special = [*unknown, *model.of_kind(Kind.CONTROL)]
    inner.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    inner.add_tokens([AddedToken(text, special=False, normalized=True) for text in model.of_kind(Kind.USER_DEFINED)])
    return inner


def _merges(pieces: Sequence[Piece]) -> list[tuple[str, str]]:
    """Every way to make a piece of two others, the best score first: what SentencePiece finds by looking each pair up."""
    known = {piece.text: index for index, piece in enumerate(pieces) if piece.kind is Kind.NORMAL}
    found = [
        (-pieces[made].score, made, known[left], known[right], left, right)
        for text, made in known.items()
        for cut in range(1, len(text))
        if (left := text[:cut]) in known and (right := text[cut:]) in known
    ]
    return [(left, right) for *_, left, right in sorted(found)]


def _normalizer(model: SentencePieceModel) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = []
    if model.squeeze_spaces:
        steps += [normalizers.Replace(Regex(rf"\A +|[ {_SPACE}]+\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if model.add_prefix and (defined := model.of_kind(Kind.USER_DEFINED)):
        # The library normalises the spelling of an added token too, which must stay bare. So does a text that is nothing but
        # one such token: there the prefix is missing.
        spelled = "|".join(_escaped(text) for text in defined)
        steps.append(normalizers.Replace(Regex(rf"\A(?!(?:{spelled})\z)(?=[\s\S])"), _SPACE))
    elif model.add_prefix:
        steps.append(normalizers.Prepend(_SPACE))
    steps.append(normalizers.Replace(" ", _SPACE))
    return normalizers.Sequence(steps)


def _decoder(model: SentencePieceModel) -> decoders.Decoder:
    steps: list[decoders.Decoder] = [decoders.Replace(_SPACE, " ")]
    if model.byte_fallback:
        steps.append(decoders.ByteFallback())
    steps.append(decoders.Fuse())
    if model.add_prefix or model.squeeze_spaces:
        steps.append(decoders.Strip(" ", 2**16 if model.squeeze_spaces else 1, 0))
    return decoders.Sequence(steps)


def _escaped(text: str) -> str:
    return "".join(f"\\x{{{ord(character):x}}}" for character in text.replace(_SPACE, " "))


def _check(
    path: Path,
    pieces: Sequence[Piece],
    trainer: Mapping[int, int | bytes],
    normalizer: Mapping[int, int | bytes],
    denormalizer: Mapping[int, int | bytes],
) -> None:
    kinds = [piece.kind for piece in pieces]
    reasons = {
        f"a {_ALGORITHMS.get(int(trainer.get(3, 1)), 'unknown')} model, not BPE": trainer.get(3, 1) != _BPE,
        "white space at the end of pieces (treat_whitespace_as_suffix)": bool(trainer.get(24, 0)),
        "spaces that are kept as they are (escape_whitespaces=false)": not normalizer.get(5, 1),
        "a table that changes the decoded text (denormalizer_spec)": bool(denormalizer.get(2)),
        "unused pieces": Kind.UNUSED in kinds,
        f"{kinds.count(Kind.UNKNOWN)} unknown pieces": kinds.count(Kind.UNKNOWN) != 1,
        # `tokenizers` could apply it, but not to every text alike: of half-width katakana with a voiced mark it makes two letters.
        f"a table that replaces characters ({_text(normalizer, 1, 'precompiled_charsmap')})": bool(normalizer.get(2)),
        "the same piece twice": len({piece.text for piece in pieces}) != len(pieces),
        "user-defined pieces in a text whose spaces are squeezed": Kind.USER_DEFINED in kinds and bool(normalizer.get(4, 1)),
        "byte fallback without 256 byte pieces": bool(trainer.get(35, 0)) and kinds.count(Kind.BYTE) != 256,
    }
    if refused := [reason for reason, holds in reasons.items() if holds]:
        raise InputError(
            f"not a SentencePiece model that is read here: {'; '.join(refused)}",
            where=str(path),
            mend="Put the tokenizer.json of the same model beside it.",
        )


def _piece(message: bytes) -> Piece:
    fields = dict(_fields(message))
    (score,) = struct.unpack("<f", _bytes(fields.get(2, bytes(4))))
    return Piece(_text(fields, 1, ""), score, Kind(int(fields.get(3, Kind.NORMAL))))


def _text(fields: Mapping[int, int | bytes], number: int, usual: str) -> str:
    return _bytes(fields[number]).decode() if number in fields else usual


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise TypeError("a number stands where a text is expected")
    return value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message: varints as numbers, everything else as its bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(message, place)
            yield number, value
            continue
        if wire == 2:
            length, place = _varint(message, place)
        elif wire in {1, 5}:
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {place}")
        if place + length > len(message):
            raise ValueError(f"it ends within the field at byte {place}")
        yield number, message[place : place + length]
        place += length


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value, place = value | (byte & 0x7F) << shift, place + 1
        if byte < 0x80:
            return value, place
        shift += 7
