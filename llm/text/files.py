"""The files that tokenizers come in: `tokenizer.json`, GPT-2's vocabulary and merges, a SentencePiece model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from infra.store.errors import DamagedError, InputError
from llm.text.sentencepiece import read_model, to_tokenizer

FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"
TOKENIZER_FILES = (FILE, CONFIG)  # what a tokenizer of ours is read from
_GPT2: Final = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
_MODELS: Final = ("tokenizer.model", "*.model", "tokenizer.model*")
_GPT2_CLASSES: Final = {None, "GPT2Tokenizer", "GPT2TokenizerFast"}
END_OF_TEXT: Final = "<|endoftext|>"
ROLES: Final = ("eos_token", "bos_token", "pad_token", "unk_token")


@dataclass(frozen=True)
class Found:
    """A tokenizer as it was stored. roles: the spelling of eos_token and others; add_*: None where the files do not say."""

    inner: tokenizers.Tokenizer
    roles: Mapping[str, str]
    add_bos: bool | None
    add_eos: bool | None
    where: str


def read(path: Path) -> Found:
    """The tokenizer of a folder, or of one file and what lies beside it.

    Raises InputError where there is none or one of an unknown kind, DamagedError where a file is not whole.
    """
    chosen = _choose(path)
    settings = _settings(chosen.parent)
    usual = {"eos_token": END_OF_TEXT}
    adds: tuple[bool | None, bool | None] = (None, None)
    if chosen.name in {name for pair in _GPT2 for name in pair}:
        inner, adds = _read_gpt2(chosen, settings), (False, False)
    elif chosen.suffix == ".json":
        inner = _read_json(chosen)
    else:
        model = read_model(chosen)
        inner, usual, adds = to_tokenizer(model), dict(model.roles), ("bos_token" in model.roles, False)
    if adds[0] is not None:  # a tokenizer.json says itself what stands around a sequence, other files leave it to their settings
        adds = (bool(settings.get("add_bos_token", adds[0])), bool(settings.get("add_eos_token", adds[1])))
    named: dict[str, str | None] = {**usual, **{role: _spelling(settings[role]) for role in ROLES if role in settings}}
    roles = {role: name for role, name in named.items() if name is not None}
    _add_tokens(inner, settings, roles, chosen)
    return Found(inner, roles, *adds, str(chosen))


def _choose(path: Path) -> Path:
    if path.is_file():
        return path
    for name in (FILE, *(pair[0] for pair in _GPT2 if all((path / each).is_file() for each in pair))):
        if (path / name).is_file():
            return path / name
    for pattern in _MODELS:
        if found := sorted(path.glob(pattern)):
            if len(found) > 1:
                names = ", ".join(each.name for each in found)
                raise InputError(f"several tokenizers ({names})", where=str(path), mend="Name the file that is meant.")
            return found[0]
    raise InputError(
        "no tokenizer",
        where=str(path / FILE),
        mend="A model folder has a tokenizer.json, vocab.json and merges.txt, or a SentencePiece tokenizer.model.",
    )


def _settings(folder: Path) -> dict[str, Any]:
    """What tokenizer_config.json says, and of older folders special_tokens_map.json and added_tokens.json."""
    settings = _json(folder / "special_tokens_map.json") | _json(folder / CONFIG)
    added = {str(index): {"content": content, "special": True} for content, index in _json(folder / "added_tokens.json").items()}
    return {**settings, "added_tokens_decoder": added | settings.get("added_tokens_decoder", {})}


def _read_json(path: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise DamagedError(f"not a tokenizer ({error})", where=str(path), mend="Fetch the model again.") from None


def _read_gpt2(path: Path, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """Byte-level BPE as GPT-2 has it (Radford et al., 2019): the files say nothing of how a text is cut into words."""
    vocabulary, merges = next((path.parent / one, path.parent / two) for one, two in _GPT2 if path.name in {one, two})
    if settings.get("tokenizer_class") not in _GPT2_CLASSES:
        raise InputError(
            f"a {settings['tokenizer_class']} cuts a text into other words than GPT-2 does, and {path.name} does not say how",
            where=str(path),
            mend="Put the tokenizer.json of the same model beside it.",
        )
    pairs = []
    try:
        for number, line in enumerate(merges.read_text(encoding="utf-8").split("\n"), start=1):
            if not line or (number == 1 and line.startswith("#version")):
                continue
            left, right = line.split(" ")
            pairs.append((left, right))
        bpe = models.BPE(vocab=_json(vocabulary), merges=pairs)
    except FileNotFoundError as error:
        raise InputError(
            f"{path.name} without the other half", where=str(error.filename), mend="Put both files into the folder."
        ) from None
    except DamagedError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise DamagedError(f"not a list of merges ({error})", where=str(merges), mend="Fetch the model again.") from None
    inner = tokenizers.Tokenizer(bpe)
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(settings.get("add_prefix_space", False)))
    inner.decoder = decoders.ByteLevel()
    return inner


def _add_tokens(inner: tokenizers.Tokenizer, settings: Mapping[str, Any], roles: Mapping[str, str], where: Path) -> None:
    """The tokens that stand in the settings alone; those with a role are control tokens, whatever they were."""
    for index, entry in sorted(settings["added_tokens_decoder"].items(), key=lambda item: int(item[0])):
        content, special = entry["content"], bool(entry.get("special"))
        token = AddedToken(
            content,
            special=special,
            normalized=bool(entry.get("normalized", not special)),
            **{name: bool(entry.get(name)) for name in ("lstrip", "rstrip", "single_word")},
        )
        (inner.add_special_tokens if special else inner.add_tokens)([token])
        if inner.token_to_id(content) != int(index):
            raise InputError(
                f"{CONFIG} gives {content!r} the id {index}, {where.name} {inner.token_to_id(content)}",
                where=str(where),
                mend="Take both files from the same model.",
            )
    inner.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in roles.values() if inner.token_to_id(name) is not None]
    )


def _spelling(entry: object) -> str | None:
    """A token of tokenizer_config.json: a string, or an object with its content."""
    if isinstance(entry, dict):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else None


def _json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is no such file."""
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise DamagedError("not a JSON object", where=str(path), mend="Fetch the model again.")
    return document
