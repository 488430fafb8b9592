"""A `tokenizer.json` in the words of llama.cpp. What llama.cpp would read otherwise than we do is refused by name."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import tokenizers

from infra.store.errors import InputError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # llama.cpp's llama_token_type
_CONTRACTIONS: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST: Final = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS: Final = {
    rf"{_CONTRACTIONS}\p{{N}}{{1,3}}{_REST}": "llama-bpe",
    rf"{_CONTRACTIONS}\p{{N}}{_REST}": "qwen2",
}
"""How a text is cut before merging, by the expression of tokenizer.json: the pre-tokenizer's name in llama.cpp."""
_WHOLE_WORDS: Final = ("llama-bpe",)  # a word that is a token is taken whole there, whatever the merges say
_SPACE: Final = "▁"


@dataclass(frozen=True)
class Vocabulary:
    """kind: `gpt2` is byte-level BPE, `llama` SentencePiece's. tokens, types, scores: one for every row of the embedding."""

    kind: Literal["gpt2", "llama"]
    pre: str
    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str]
    scores: Sequence[float]
    ids: Mapping[str, int]
    """`bos`, `eos`, `eot`, `unk`, `pad`: those there are."""
    add_bos: bool
    space_prefix: bool
    chat_template: str


def read_vocabulary(folder: Path, rows: int) -> Vocabulary:
    """rows: of the embedding; those without a token are named [PADn]. Raises InputError."""
    where = folder / "tokenizer.json"
    told: dict[str, Any] = json.loads(where.read_text())
    model = told["model"]
    if model.get("type", "BPE") != "BPE":
        raise _refused(f"its tokenizer is of type {model.get('type')}", where)
    kind: Literal["gpt2", "llama"] = "llama" if model.get("byte_fallback") else "gpt2"
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    pre = "default" if kind == "llama" else _byte_level(told, where)
    tokens, types = _tokens(told, kind, rows, where)
    settings, generation = _json(folder / "tokenizer_config.json"), _json(folder / "generation_config.json")
    ids = _ids(settings, _json(folder / "config.json"), generation, {token: number for number, token in enumerate(tokens)})
    inner = tokenizers.Tokenizer.from_file(str(where))
    first = inner.encode("a", add_special_tokens=True).ids[:1]
    return Vocabulary(
        kind=kind,
        pre=pre,
        tokens=tokens,
        types=types,
        merges=merges if kind == "gpt2" else [],
        scores=_scores(merges, tokens) if kind == "llama" else [],
        ids=ids,
        add_bos="bos" in ids and first == [ids["bos"]],
        space_prefix=kind == "llama" and "".join(inner.encode("a", add_special_tokens=False).tokens).startswith(_SPACE),
        chat_template=str(settings.get("chat_template") or ""),
    )


def _byte_level(told: Mapping[str, Any], where: Path) -> str:
    """The name of the pre-tokenizer, known by its expression."""
    steps = told.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps])
    last = steps[-1] if steps else {}
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        raise _refused("its tokenizer does not work on bytes as GPT-2's does", where)
    if len(steps) == 1 and last.get("use_regex", True):
        name = "gpt-2"
    elif len(steps) == 2 and steps[0].get("type") == "Split" and steps[0].get("behavior") == "Isolated":
        expression = (steps[0].get("pattern") or {}).get("Regex", "")
        if expression not in _SPLITS:
            raise _refused(
                f"its tokenizer cuts a text by an expression that llama.cpp has no name for here ({expression[:60]})", where
            )
        name = _SPLITS[expression]
    else:
        raise _refused("its tokenizer cuts a text in steps that llama.cpp has no name for", where)
    normalizer = (told.get("normalizer") or {}).get("type")
    if normalizer and not (normalizer == "NFC" and name == "qwen2"):
        raise _refused(f"its tokenizer changes the text first ({normalizer})", where)
    if bool(told["model"].get("ignore_merges")) != (name in _WHOLE_WORDS):
        raise _refused(f"its tokenizer takes whole words otherwise than llama.cpp's {name} does", where)
    return name


def _tokens(told: Mapping[str, Any], kind: str, rows: int, where: Path) -> tuple[list[str], list[int]]:
    names: dict[int, tuple[str, int]] = {}
    for token, number in told["model"]["vocab"].items():
        byte = kind == "llama" and len(token) == 6 and token.startswith("<0x") and token.endswith(">")
        names[number] = (token, BYTE if byte else UNKNOWN if token == told["model"].get("unk_token") else NORMAL)
    for added in told.get("added_tokens", ()):
        unknown = kind == "llama" and added["content"] == told["model"].get("unk_token")
        names[added["id"]] = (added["content"], UNKNOWN if unknown else CONTROL if added["special"] else USER_DEFINED)
    if max(names) >= rows:
        raise InputError(
            f"the tokenizer has {max(names) + 1:,} tokens, the model {rows:,}",
            where=str(where),
            mend="Put the tokenizer beside the model that was trained with it.",
        )
    whole = [names.get(number, (f"[PAD{number}]", UNUSED)) for number in range(rows)]
    return [token for token, _ in whole], [kind for _, kind in whole]


def _scores(merges: Sequence[str], tokens: Sequence[str]) -> list[float]:
    """SentencePiece merges the pair whose token scores highest: the order of the merges, as falling numbers."""
    rank: dict[str, int] = {}
    for place, merge in enumerate(merges):
        rank.setdefault(merge.replace(" ", ""), place)
    return [-float(rank[token]) if token in rank else -1e6 for token in tokens]


def _ids(
    settings: Mapping[str, Any], config: Mapping[str, Any], generation: Mapping[str, Any], known: Mapping[str, int]
) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in ("bos", "eos", "unk", "pad"):
        entry = settings.get(f"{name}_token")
        entry = entry.get("content") if isinstance(entry, dict) else entry
        number = known.get(entry) if isinstance(entry, str) else config.get(f"{name}_token_id")
        number = number[0] if isinstance(number, list) else number
        if isinstance(number, int) and 0 <= number < len(known):
            found[name] = number
    stops = generation.get("eos_token_id")
    if other := [number for number in (stops if isinstance(stops, list) else []) if number != found.get("eos")]:
        found["eot"] = other[0]
    return found


def _json(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text()) if path.is_file() else {}
    return document if isinstance(document, dict) else {}


def _refused(what: str, where: Path) -> InputError:
    return InputError(f"{what}: llama.cpp would read a text otherwise", where=str(where), mend="Export with --format hf.")
