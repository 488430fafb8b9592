"""Rows as instructions: Alpaca fields, chat messages or ShareGPT conversations, whatever format they come in."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from llm.data.instructions import Instruction, digest
from llm.data.kinds.draft import Draft, WrongRowError, text_of, with_line_feeds
from llm.data.kinds.kind import Kind
from llm.data.kinds.reader import Reader
from llm.data.kinds.turns import MESSAGES, SHAREGPT, chat, check_turns, is_chat, read_turns
from llm.data.reading.columns import Columns, instruction_columns
from llm.data.rows import Row
from llm.text.chat import Message

_PREVIEW: Final = 80
INSTRUCTION: Final = Kind[Instruction](
    "instruction",
    texts=lambda row: tuple(message["content"] for message in row.messages),
    preview=lambda row: repr(f"{row.question[:_PREVIEW]} -> {row.answer[:_PREVIEW]}")[1:-1],  # nothing that moves a cursor
    same=lambda row: digest(*(message["content"] for message in row.messages)),
    answers=lambda row: (row.answer,),
)
_STANDARD: Final = (
    Columns("messages", {"messages": "messages"}, ""),
    Columns("sharegpt", {"messages": "conversations"}, ""),
    Columns("alpaca", {"instruction": "instruction", "input": "input", "output": "output"}, ""),
)
_OPTIONAL: Final = ("system", "input")
_NEEDED: Final = ("messages", "instruction", "output")


def instructions_of(rows: Sequence[Row]) -> Reader[Instruction]:
    """The reader of rows like these first ones; each row shows its own form. Raises InputError where none is known."""
    in_text = next((each for each in _STANDARD[:-1] if any(is_chat(row.fields.get(each.names["messages"])) for row in rows)), None)
    usual = in_text or (instruction_columns(rows) if rows else _STANDARD[-1])
    return Reader(partial(draft_instruction, usual=usual))


def draft_instruction(row: Row, usual: Columns = _STANDARD[-1]) -> Draft[Instruction]:
    """A row as an instruction, by the usual columns where it has them, else by its own form. Raises WrongRowError."""
    columns = next((each for each in (usual, *_STANDARD) if _shows(row, each)), usual)
    return _alpaca(row, columns) if columns.form == "alpaca" else _chat(row, columns)


def asking(row: Row, names: Mapping[str, str]) -> dict[str, str]:
    """The texts of a row that stand before its answer, by column. names: columns by part. Raises WrongRowError."""
    needed = {names["instruction"]: text_of(row.fields, names["instruction"])}
    others = {names[part]: text_of(row.fields, names[part], needed=False) for part in _OPTIONAL if part in names}
    return needed | {name: text for name, text in others.items() if text}


def with_optional(names: Mapping[str, str]) -> dict[str, str]:
    """With the columns that need not be in every row, and so perhaps in none of the first ones."""
    return {**{part: part for part in _OPTIONAL if part not in names.values()}, **names}


def asked(names: Mapping[str, str], texts: Mapping[str, str]) -> tuple[Message, ...]:
    """What a row asks: its instruction with what that is to be done with, after its system message. Raises WrongRowError."""
    parts = {part: with_line_feeds(texts.get(name, "")) for part, name in names.items()}
    instruction, given, system = parts["instruction"], parts.get("input", "").strip(), parts.get("system", "")
    if not instruction.strip():
        raise WrongRowError("empty-question", f'"{names["instruction"]}" is empty')
    question = f"{instruction.strip()}\n\n{given}" if given else instruction
    before: tuple[Message, ...] = ({"role": "system", "content": system},) if system else ()
    return (*before, {"role": "user", "content": question})


def _alpaca(row: Row, columns: Columns) -> Draft[Instruction]:
    names = with_optional(columns.names)
    texts = {**asking(row, names), names["output"]: text_of(row.fields, names["output"])}

    def make(texts: Mapping[str, str]) -> Instruction:
        prompt, answer = asked(names, texts), with_line_feeds(texts[names["output"]])
        if not answer.strip():
            raise WrongRowError("empty-answer", f'"{names["output"]}" is empty')
        return Instruction(row.id, (*prompt, {"role": "assistant", "content": answer}))

    shown = ", ".join(names[part] for part in ("system", "instruction", "input", "output") if part in columns.names)
    return Draft(texts, make, f"Alpaca ({shown})")


def _chat(row: Row, columns: Columns) -> Draft[Instruction]:
    key = columns.names["messages"]
    turns = read_turns(row.fields.get(key), key, SHAREGPT if columns.form == "sharegpt" else MESSAGES)
    check_turns(turns, key)

    def make(texts: Mapping[str, str]) -> Instruction:
        return Instruction(row.id, chat(turns, texts))

    form = "ShareGPT ({} of from and value)" if columns.form == "sharegpt" else "chats ({} of role and content)"
    return Draft({turn.field: turn.text for turn in turns}, make, form.format(key))


def _shows(row: Row, columns: Columns) -> bool:
    return all(row.fields.get(name) is not None for part, name in columns.names.items() if part in _NEEDED)
