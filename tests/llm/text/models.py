"""SentencePiece models and other tokenizers' folders, written byte by byte: no package and no download is needed to read them."""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
_START = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
_BYTES = [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
# Made up, in the order in which they are merged; then the letters.
_MERGED = [
    "▁t",
    "▁th",
    "▁the",
    "▁▁",
    "▁▁▁▁",
    "aa",
    "aaaa",
    "ab",
    "ba",
    "aba",
    "▁a",
    "▁ab",
    "at",
    "cat",
    "▁c",
    "▁cat",
    "in",
    "ing",
    "</",
    "s>",
    "é!",
]
_LETTERS = "▁taehcnigsbéo</>日.,!T"
PIECES = [*_START, *_BYTES, *((text, -float(place), NORMAL) for place, text in enumerate([*_MERGED, *_LETTERS]))]
NASTY = [
    "", " ", "  ", "   the", "the cat", " the  cat ", "thecat", "aaaaaaaaaaa", "abababab", "baab aba", "é!", "e\u0301", "日本語",
    "😀👍🏽",
    "\n", "\n\n the\r\n\tcat", "\x00\x01\x7f", "</s>", "<s>the</s>", "<unk>", "<0x0A>", "[INST] the [/INST]", "<|endoftext|>",
    "مرحبا שלום", "\ufffd\u200b\ufeff\xa0", "T" * 300, "the " * 200, " " * 33, "▁", "a▁the", "ing.,ing",
]  # fmt: skip


def write_model(
    path: Path,
    pieces: Sequence[tuple[str, float, int]] = PIECES,
    *,
    trainer: Mapping[int, int | bytes] | None = None,
    normalizer: Mapping[int, int | bytes] | None = None,
) -> Path:
    """BPE with byte fallback, its text taken as it is after one more space, as Llama 2 has it; other fields by their numbers."""
    content = b"".join(_field(1, _piece(*piece)) for piece in pieces)
    content += _field(2, _message({3: 2, 4: len(pieces), 35: 1, 40: 0, 41: 1, 42: 2, 43: 2**64 - 1, **(trainer or {})}))
    content += _field(3, _message({1: b"identity", 2: b"", 3: 1, 4: 0, 5: 1, **(normalizer or {})}))
    path.write_bytes(content)
    return path


def write_gpt2(folder: Path, names: tuple[str, str] = ("vocab.json", "merges.txt"), **settings: Any) -> Path:
    """Byte-level BPE in GPT-2's two files, of a handful of merges."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = [chr(byte) for byte in visible] + [chr(256 + n) for n in range(256 - len(visible))]
    merges = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("a", "t"), ("c", "at"), ("<", "|"), ("|", ">"), ("e", "n"), ("en", "d")]
    tokens = [*alphabet, *(left + right for left, right in merges), "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(json.dumps({token: index for index, token in enumerate(tokens)}), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges), ""]
    (folder / names[1]).write_text("\n".join(lines), encoding="utf-8")
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def _piece(text: str, score: float, kind: int) -> bytes:
    return _field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + _field(3, kind)


def _message(fields: Mapping[int, int | bytes]) -> bytes:
    return b"".join(_field(number, value) for number, value in fields.items())


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])
