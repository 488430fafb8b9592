"""Instructions of a user's own: what kind of rows a file holds is found out; what is wrong with a row is said with row and key."""

import difflib
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from infra.store.errors import InputError
from infra.store.fingerprint import fingerprint
from infra.store.manifest import sha256
from llm.data.config import PYTHON_STDLIB
from llm.data.documents import SourceFile
from llm.data.instructions import Instruction, ask
from llm.text.chat import Message

Kind = Literal["alpaca", "messages", "sharegpt"]
KINDS: Final[Mapping[Kind, str]] = {
    "messages": "chats (messages of role and content)",
    "sharegpt": "ShareGPT (conversations of from and value)",
    "alpaca": "Alpaca (instruction, input, output)",
}
_SIGNS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "alpaca": ("instruction", "output"),
}
_SPEAKERS: Final = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_FORMS: Final = '{"instruction": ..., "output": ...}, {"messages": [...]} or {"conversations": [...]}'
_REMOVE: Final = "Mend the row, or remove it"


@dataclass(frozen=True)
class Wrong:
    """Something wrong in a row: `key` and `what` make the sentence, `kind` groups it with others like it."""

    row: int
    kind: str
    what: str
    why: str = ""


@dataclass(frozen=True)
class Found:
    """A file's rows, of one kind: the good ones, and what is wrong with the others. `file` is it as it was read."""

    kind: Kind
    path: Path
    file: SourceFile
    rows: list[Instruction]
    wrong: list[Wrong]

    @property
    def version(self) -> str:
        """A hash of the content: where the file lies does not bear on it."""
        return fingerprint({"instructions": self.file.sha256})[:16]

    @property
    def summary(self) -> str:
        n = len(self.rows) + len(self.wrong)
        return f"{n:,} rows of {KINDS[self.kind]} in {self.path.name}"

    def check(self, setting: str) -> None:
        """Raises InputError for the first wrong row. `setting` is the recipe's key that leaves such rows out."""
        if not self.wrong:
            return
        first = self.wrong[0]
        alike = sum(wrong.kind == first.kind for wrong in self.wrong)
        others = len(self.wrong) - alike
        left_out = f"leave out the {alike:,} rows like it" if alike > 1 else "leave it out"
        more = f" (and the {others:,} wrong in another way)" if others else ""
        raise InputError(
            f"{first.what}{f'. {first.why}' if first.why else ''}",
            where=f"{self.path}, row {first.row}",
            mend=f"{_REMOVE}, or pass --set {setting}=drop to {left_out}{more}.",
        )


def find_instructions(path: str) -> Found:
    """Reads a file whole. Raises InputError for what cannot be read, is not JSON, or is of no kind that is known here."""
    file = _existing(path)
    entries = list(_entries(file))
    if not entries:
        raise InputError("empty: it holds no rows", where=str(file), mend=f"Give rows: {_FORMS}.")
    kind = _kind(entries, file)
    read = {"alpaca": _alpaca, "messages": _messages, "sharegpt": _sharegpt}[kind]
    rows, wrong = [], []
    for number, entry in entries:
        try:
            rows.append(read(f"{file.name}:{number}", _clean(entry)))
        except _WrongRowError as error:
            wrong.append(Wrong(number, error.kind, error.what, error.why))
    size = file.stat().st_size
    return Found(kind, file, SourceFile(file.name, sha256(file), size, size), rows, wrong)


class _WrongRowError(Exception):
    def __init__(self, kind: str, what: str, why: str = "") -> None:
        super().__init__(what)
        self.kind, self.what, self.why = kind, what, why


def _alpaca(row_id: str, entry: Any) -> Instruction:
    entry = _object(entry)
    instruction, output = (_text(entry, key) for key in ("instruction", "output"))
    given, system = (_text(entry, key, needed=False) for key in ("input", "system"))
    if not instruction.strip():
        raise _WrongRowError("empty question", '"instruction" is empty', "Every instruction example needs a question.")
    _check_answer(output, '"output"')
    question = f"{instruction.strip()}\n\n{given.strip()}" if given.strip() else instruction
    return ask(row_id, question, output, system)


def _messages(row_id: str, entry: Any) -> Instruction:
    return _chat(
        row_id, _object(entry), "messages", "role", "content", {"user": "user", "assistant": "assistant", "system": "system"}
    )


def _sharegpt(row_id: str, entry: Any) -> Instruction:
    return _chat(row_id, _object(entry), "conversations", "from", "value", _SPEAKERS)


def _chat(row_id: str, entry: Mapping[str, Any], key: str, role: str, content: str, roles: Mapping[str, str]) -> Instruction:
    turns = entry.get(key)
    if not isinstance(turns, list) or not turns:
        raise _WrongRowError(
            f"no {key}", f'"{key}" is {_named(turns)}, not a list of messages' if turns != [] else f'"{key}" is empty'
        )
    chat: list[Message] = []
    for number, turn in enumerate(turns, start=1):
        place = f'"{key}", message {number}'
        if not isinstance(turn, dict):
            raise _WrongRowError("no message", f"{place} is {_named(turn)}, not an object with {role} and {content}")
        speaker = turn.get(role)
        if not isinstance(speaker, str) or speaker not in roles:
            raise _WrongRowError("role", f'{place}: "{role}" is {_named(speaker)}', f"Known are {', '.join(roles)}.")
        said = turn.get(content)
        if not isinstance(said, str):
            raise _WrongRowError("no text", f'{place}: "{content}" is {_named(said)}, not a string')
        chat.append({"role": roles[speaker], "content": said})
        _check_turn(chat, place, content)
    if chat[-1]["role"] != "assistant":
        raise _WrongRowError("no answer", f'"{key}" ends without an answer', "The last message must be the assistant's.")
    return Instruction(row_id, tuple(chat))


def _check_turn(chat: list[Message], place: str, content: str) -> None:
    """After an optional system message, user and assistant in turn; nobody says nothing."""
    role, first = chat[-1]["role"], int(chat[0]["role"] == "system")
    due = "system" if len(chat) <= first else ("user", "assistant")[(len(chat) - 1 - first) % 2]
    if role != due:
        raise _WrongRowError("order", f"{place} is the {role}'s, here it is the {due}'s turn", "User and assistant speak in turn.")
    if role == "assistant":
        _check_answer(chat[-1]["content"], f'{place}: "{content}"')
    elif not chat[-1]["content"].strip():
        raise _WrongRowError("empty question", f'{place}: "{content}" is empty')


def _check_answer(text: str, place: str) -> None:
    if not text.strip():
        raise _WrongRowError("empty answer", f"{place} is empty", "Every instruction example needs an answer to learn from.")


def _object(entry: Any) -> Mapping[str, Any]:
    if not isinstance(entry, dict):
        raise _WrongRowError("no object", f"a row is an object, this is {_named(entry)}")
    return entry


def _text(entry: Mapping[str, Any], key: str, *, needed: bool = True) -> str:
    value = entry.get(key)
    if value is None and not needed:
        return ""
    if key not in entry:
        raise _WrongRowError(f"no {key}", f'no "{key}"; its keys are {", ".join(map(json.dumps, entry)) or "none"}')
    if not isinstance(value, str):
        raise _WrongRowError(f"{key} no text", f'"{key}" is {_named(value)}, not a string')
    return value


def _kind(entries: list[tuple[int, Any]], file: Path) -> Kind:
    """The kind that most rows are of. Raises InputError naming the keys there are when none is."""
    keys = Counter(key for _, entry in entries if isinstance(entry, dict) for key in entry)
    votes = {kind: min(keys[sign] for sign in signs) for kind, signs in _SIGNS.items()}
    best = max(votes, key=lambda kind: votes[kind])
    if votes[best]:
        return best
    known = [sign for signs in _SIGNS.values() for sign in signs]
    near = [f"{key} for {close[0]}?" for key in keys if (close := difflib.get_close_matches(key, known, 1)) and key not in known]
    there = f"its keys are {', '.join(json.dumps(key) for key, _ in keys.most_common(8))}" if keys else "its rows are no objects"
    hint = f" Is it {' '.join(near)}" if near else ""
    raise InputError(
        f"not a kind of instructions that is known here; {there}", where=str(file), mend=f"Give rows such as {_FORMS}.{hint}"
    )


def _existing(path: str) -> Path:
    file = Path(path).expanduser().absolute()
    if file.is_file():
        if not file.name.lower().removesuffix(".gz").endswith((".jsonl", ".json")):
            raise InputError(
                "not a kind of file that is read here", where=str(file), mend="Supported are .jsonl and .json, plain or .gz."
            )
        return file
    beside = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
    near = difflib.get_close_matches(file.name, [*beside, PYTHON_STDLIB], 1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise InputError("no such file", where=path, mend=f"{hint}Give a .jsonl or .json file, or {PYTHON_STDLIB}.")


def _entries(file: Path) -> Iterator[tuple[int, Any]]:
    """(number from 1, value) of each row; of .jsonl, its line."""
    text = _decoded(file)
    if file.name.lower().removesuffix(".gz").endswith(".json"):
        value = _parsed(text, str(file), "Mend the file")
        if not isinstance(value, list):
            raise InputError(
                f"a .json file holds a list of rows, this is {_named(value)}", where=str(file), mend="Give a list, or .jsonl."
            )
        yield from enumerate(value, start=1)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _parsed(line, f"{file}, row {number}", _REMOVE)


def _decoded(file: Path) -> str:
    data = b""
    try:
        data = file.read_bytes()
        data = gzip.decompress(data) if file.name.lower().endswith(".gz") else data
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise InputError("not UTF-8", where=f"{file}, row {row}", mend="Convert the file to UTF-8.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise InputError("damaged: its compressed data is not whole", where=str(file), mend="Copy or download it again.") from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=str(file), mend="Check its permissions.") from None


def _parsed(text: str, where: str, mend: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"not JSON ({error.msg}, line {error.lineno}, column {error.colno})", where=where, mend=f"{mend}."
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error})", where=where, mend=f"{mend}.") from None


def _clean(value: Any) -> Any:
    """With one kind of line end, and half surrogate pairs as U+FFFD: what can be written as UTF-8."""
    if isinstance(value, str):
        return value.replace("\r\n", "\n").replace("\r", "\n").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return {key: _clean(each) for key, each in value.items()} if isinstance(value, dict) else value


def _named(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value[:40], ensure_ascii=False)
    names = {dict: "an object", list: "a list", bool: "true or false", type(None): "missing"}
    return names.get(type(value), "a number")
