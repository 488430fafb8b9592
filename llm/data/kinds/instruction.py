"""Rows as instructions: Alpaca fields, chat messages or ShareGPT conversations, whatever format they come in."""

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

from infra.store.errors import InputError
from llm.data.instructions import Instruction, ask, digest
from llm.data.kinds.draft import Draft, WrongRowError, keys_of, text_of, with_line_feeds
from llm.data.kinds.kind import Kind
from llm.data.kinds.turns import MESSAGES, SHAREGPT, Spelling, chat, check_turns, read_turns
from llm.data.rows import Row

Form = Literal["messages", "sharegpt", "alpaca"]
FORMS: Final[Mapping[Form, str]] = {
    "messages": "chats (messages of role and content)",
    "sharegpt": "ShareGPT (conversations of from and value)",
    "alpaca": "Alpaca (instruction, input, output)",
}
SIGNS: Final[Mapping[Form, tuple[str, ...]]] = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "alpaca": ("instruction", "output"),
}
_PREVIEW: Final = 80
INSTRUCTION: Final = Kind[Instruction](
    "instruction",
    texts=lambda row: tuple(message["content"] for message in row.messages),
    preview=lambda row: repr(f"{row.question[:_PREVIEW]} -> {row.answer[:_PREVIEW]}")[1:-1],  # nothing that moves a cursor
    same=lambda row: digest(*(message["content"] for message in row.messages)),
    answers=lambda row: (row.answer,),
)
EXAMPLES: Final = '{"instruction": ..., "output": ...}, {"messages": [...]} or {"conversations": [...]}'


def usual_form(rows: Sequence[Row], where: str) -> Form:
    """The form that most of some rows have. Raises InputError, naming the keys there are, where none has any that is known."""
    keys = Counter(key for row in rows for key, value in row.fields.items() if value is not None)
    votes = {form: min(keys[sign] for sign in signs) for form, signs in SIGNS.items()}
    best = max(votes, key=lambda form: votes[form])
    if votes[best] or not rows:
        return best if rows else "alpaca"
    known = [sign for signs in SIGNS.values() for sign in signs]
    near = [f"{key} for {close[0]}?" for key in keys if (close := difflib.get_close_matches(key, known, 1)) and key not in known]
    hint = f" Is it {' '.join(near)}" if near else ""
    raise InputError(
        f"not a kind of instructions that is known here; its keys are {keys_of(dict(keys.most_common(8)))}",
        where=where,
        mend=f"Give rows such as {EXAMPLES}.{hint}",
    )


def draft_instruction(row: Row, usual: Form = "alpaca") -> Draft[Instruction]:
    """A row as an instruction, by its own form where it shows one, else by the usual one. Raises WrongRowError."""
    form = usual if _shows(row, usual) else next((form for form in SIGNS if _shows(row, form)), usual)
    if form == "alpaca":
        return _alpaca(row)
    return _chat(row, form, *{"messages": ("messages", MESSAGES), "sharegpt": ("conversations", SHAREGPT)}[form])


def instructions_of(rows: Sequence[Row], where: str) -> Callable[[Row], Draft[Instruction]]:
    """The reader of rows like these first ones."""
    return partial(draft_instruction, usual=usual_form(rows, where))


def question_of(fields: Mapping[str, str]) -> str:
    """What an Alpaca row asks: its instruction, and what that is to be done with. Raises WrongRowError where it asks nothing."""
    instruction, given = fields["instruction"], fields.get("input", "").strip()
    if not instruction.strip():
        raise WrongRowError("empty-question", '"instruction" is empty')
    return f"{instruction.strip()}\n\n{given}" if given else instruction


def alpaca_question(fields: Mapping[str, Any]) -> dict[str, str]:
    """The texts of an Alpaca row that stand before its answer. Raises WrongRowError."""
    needed = {"instruction": text_of(fields, "instruction")}
    return {**needed, **{key: text for key in ("input", "system") if (text := text_of(fields, key, needed=False))}}


def _alpaca(row: Row) -> Draft[Instruction]:
    texts = {**alpaca_question(row.fields), "output": text_of(row.fields, "output")}

    def make(texts: Mapping[str, str]) -> Instruction:
        texts = {key: with_line_feeds(text) for key, text in texts.items()}
        question = question_of(texts)
        if not texts["output"].strip():
            raise WrongRowError("empty-answer", '"output" is empty')
        return ask(row.id, question, texts["output"], texts.get("system", ""))

    return Draft(texts, make, FORMS["alpaca"])


def _chat(row: Row, form: Form, key: str, spelling: Spelling) -> Draft[Instruction]:
    turns = read_turns(row.fields.get(key), key, spelling)
    check_turns(turns, key)

    def make(texts: Mapping[str, str]) -> Instruction:
        return Instruction(row.id, chat(turns, texts))

    return Draft({turn.field: turn.text for turn in turns}, make, FORMS[form])


def _shows(row: Row, form: Form) -> bool:
    return all(row.fields.get(sign) is not None for sign in SIGNS[form])
