"""Which column holds what: as the recipe says, else by its name, else by what is in it. What was found is said in a sentence."""

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from infra.store.errors import InputError
from llm.data.rows import Row

TEXT_NAMES: Final = ("text", "content", "document", "body", "sentence", "passage", "article", "message", "sms", "review")
LABEL_NAMES: Final = ("label", "labels", "class", "category", "target", "sentiment", "intent", "topic", "y", "tag")
_PROMPT: Final = ("instruction", "prompt", "question", "query")
_ANSWER: Final = ("output", "response", "answer", "completion", "target")
_CHOSEN: Final = ("chosen", "preferred", "accepted", "winner")
_REJECTED: Final = ("rejected", "dispreferred", "loser")
_MOST_LABELS: Final = 0.5  # of the rows looked at: more different values are hardly classes

Form = Literal["messages", "sharegpt", "alpaca", "preference"]


@dataclass(frozen=True)
class Column:
    """A column and how it came to be taken, as a sentence."""

    name: str
    found: str


@dataclass(frozen=True)
class Columns:
    """Columns by the part they play, such as {"instruction": "prompt", "output": "completion"}, and how they came to be taken."""

    form: Form
    names: Mapping[str, str]
    found: str


def text_column(rows: Sequence[Row], asked: str = "", setting: str = "data.text_column") -> Column:
    """The column of the text. `setting` is the recipe's key that names another. Raises InputError where there is none."""
    if asked:
        return Column(_asked(rows, asked, setting), f'the text is in "{asked}", as asked')
    strings = _strings(rows)
    if named := _first_named(TEXT_NAMES, strings):
        return Column(named, f"the text is in {_quoted(named)}, by its name")
    if len(strings) == 1:
        only = next(iter(strings))
        return Column(only, f"the text is in {_quoted(only)}, the only column of strings")
    if not strings:
        raise _missing(rows, "text", setting)
    longest = max(strings, key=lambda name: (strings[name], name))
    return Column(longest, f"the text is in {_quoted(longest)}, where the longest strings are")


def label_column(rows: Sequence[Row], text: str, asked: str = "", setting: str = "classify.data.label_column") -> Column:
    """The column of the label, beside that of the text. Raises InputError where there is none."""
    if asked:
        return Column(_asked(rows, asked, setting), f'the label is in "{asked}", as asked')
    values: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.fields.items():
            if name != text and isinstance(value, str | int):
                values.setdefault(name, set()).add(str(value))
    if named := _first_named(LABEL_NAMES, values) or _first_named(LABEL_NAMES[:1], _names(rows)):
        return Column(named, f"the label is in {_quoted(named)}, by its name")
    few = {name: len(found) for name, found in values.items() if 1 < len(found) <= max(2, _MOST_LABELS * len(rows))}
    if not few:
        raise _missing(rows, "label", setting)
    fewest = min(few, key=lambda name: (few[name], name))
    return Column(fewest, f"the label is in {_quoted(fewest)}, which has {few[fewest]} different values")


def instruction_columns(rows: Sequence[Row], asked: Mapping[str, str] | None = None, setting: str = "instruct.data") -> Columns:
    """The form of the rows: chats (`messages`), ShareGPT (`conversations`), or a question and an answer in columns (alpaca).

    names: of a chat {"messages": ...}; of alpaca `instruction` and `output`, and `input` and `system` where they are
    there. asked: parts and columns that the recipe names. Raises InputError where no form fits.
    """
    asked = {part: _asked(rows, name, f"{setting}.{part}_column") for part, name in (asked or {}).items() if name}
    counts = _names(rows)
    if "messages" in asked:
        column = asked["messages"]
        form: Form = "sharegpt" if _has_turns(rows, column, "value") else "messages"
        return Columns(form, {"messages": column}, f"the chats are in {_quoted(column)}, as asked")
    if not asked:
        for form, column, content in (("messages", "messages", "content"), ("sharegpt", "conversations", "value")):
            for name in (column, "conversation", "conversations", "messages", "chat"):
                if counts[name] and _has_turns(rows, name, content):
                    kind = "ShareGPT (from and value)" if form == "sharegpt" else "chats (role and content)"
                    return Columns(form, {"messages": name}, f"{kind} in {_quoted(name)}")
    names = {"instruction": asked.get("instruction") or _first_named(_PROMPT, counts)}
    names["output"] = asked.get("output") or _first_named(_ANSWER, counts)
    if not names["instruction"] or not names["output"]:
        raise _missing(rows, "instruction and answer", f"{setting}.instruction_column and {setting}.output_column")
    for part in ("input", "system"):
        if (column := asked.get(part) or (part if counts[part] else "")) and column not in names.values():
            names[part] = column
    return Columns("alpaca", names, f"the question is in {_listed(names)}")


def preference_columns(rows: Sequence[Row], asked: Mapping[str, str] | None = None, setting: str = "prefer.data") -> Columns:
    """Where the better and the worse answer are, and the prompt where it is not in both. Raises InputError where they are not."""
    asked = {part: _asked(rows, name, f"{setting}.{part}_column") for part, name in (asked or {}).items() if name}
    counts = _names(rows)
    names = {
        "chosen": asked.get("chosen") or _first_named(_CHOSEN, counts),
        "rejected": asked.get("rejected") or _first_named(_REJECTED, counts),
    }
    if not names["chosen"] or not names["rejected"]:
        raise _missing(rows, "chosen and rejected", f"{setting}.chosen_column and {setting}.rejected_column")
    if prompt := asked.get("prompt") or _first_named(("prompt", "instruction", "question", "query"), counts):
        names["prompt"] = prompt
    for part in ("input", "system"):
        if (column := asked.get(part) or (part if counts[part] else "")) and column not in names.values():
            names[part] = column
    return Columns("preference", names, f"the answers are in {_listed(names)}")


def _names(rows: Iterable[Row]) -> Counter[str]:
    return Counter(name for row in rows for name in row.fields)


def _strings(rows: Iterable[Row]) -> dict[str, int]:
    """Columns that hold strings, with the characters in them; an id is no text."""
    lengths = Counter[str]()
    for row in rows:
        for name, value in row.fields.items():
            if isinstance(value, str):
                lengths[name] += len(value) + 1
    without_id = {name: length for name, length in lengths.items() if name.lower() not in {"id", "_id", "uuid"}}
    return without_id or dict(lengths)


def _first_named(known: Sequence[str], names: Iterable[str]) -> str:
    """The first of the known names that a column has, in whatever case; "" for none."""
    by_lower = {name.lower(): name for name in reversed(list(names))}
    return next((by_lower[name] for name in known if name in by_lower), "")


def _has_turns(rows: Iterable[Row], column: str, content: str) -> bool:
    found = [turn for row in rows if isinstance(turns := row.fields.get(column), list) for turn in turns]
    return any(isinstance(turn, dict) and content in turn for turn in found)


def _asked(rows: Sequence[Row], name: str, setting: str) -> str:
    if any(name in row.fields for row in rows):
        return name
    raise _missing(rows, name, setting, asked=True)


def _missing(rows: Sequence[Row], wanted: str, setting: str, *, asked: bool = False) -> InputError:
    names = list(dict.fromkeys(name for row in rows for name in row.fields))
    near = difflib.get_close_matches(wanted, names, 1, cutoff=0.5)
    known = ", ".join(map(_quoted, names)) or "none"
    what = f"no column {_quoted(wanted)}" if asked else f"no column was found for the {wanted}"
    hint = f"Did you mean {near[0]}? " if near else ""
    where = rows[0].source if rows else setting
    return InputError(f"{what}; its columns are {known}", where=where, mend=f"{hint}Set {setting} to one of them.")


def _listed(names: Mapping[str, str]) -> str:
    return ", ".join(f"{_quoted(column)} ({part})" if part != column else _quoted(column) for part, column in names.items())


def _quoted(name: Any) -> str:
    return json.dumps(name, ensure_ascii=False)
