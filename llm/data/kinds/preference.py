"""Rows as preferences: a chosen and a rejected answer, as texts, as chats or as transcripts, with a prompt of its own or within.

The forms are those of the public sets: `prompt`, `chosen`, `rejected` as texts or as lists of messages (TRL, UltraFeedback); whole
transcripts of "Human:" and "Assistant:" (Bai et al. 2022); Alpaca's instruction and input, or a chat, beside the two answers.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from llm.data.instructions import digest
from llm.data.kinds.columns import column_of
from llm.data.kinds.draft import Draft, WrongRowError, keys_of, named, text_of, with_line_feeds
from llm.data.kinds.instruction import alpaca_question, question_of
from llm.data.kinds.kind import Kind
from llm.data.kinds.turns import Turn, chat, check_turns, is_chat, read_turns
from llm.data.preferences import Preference
from llm.data.rows import Row
from llm.text.chat import Message

_PREVIEW: Final = 80
PREFERENCE: Final = Kind[Preference](
    "preference",
    texts=lambda row: (*(message["content"] for message in row.prompt), row.chosen, row.rejected),
    preview=lambda row: repr(f"{row.question[:_PREVIEW]} -> {row.chosen[:_PREVIEW]} | {row.rejected[:_PREVIEW]}")[1:-1],
    same=lambda row: digest(*(message["content"] for message in row.prompt), *sorted((row.chosen, row.rejected), key=digest)),
    says=lambda row: digest(row.chosen),
    answers=lambda row: (row.chosen.strip(), row.rejected.strip()),
)
CHOSEN: Final = ("chosen", "chosen_response", "response_chosen")
REJECTED: Final = ("rejected", "rejected_response", "response_rejected")
PROMPT: Final = ("prompt", "question", "query")
CHATS: Final = ("messages", "conversations")
EXAMPLES: Final = '{"prompt": ..., "chosen": ..., "rejected": ...}, {"chosen": [...], "rejected": [...]} or Alpaca fields with both'
_SPEAKER: Final = re.compile(r"(?:^|\n\n)(Human|Assistant):[ \t]?")
_TRANSCRIPT: Final = re.compile(r"\s*Human:.*\n\nAssistant:", re.DOTALL)


@dataclass(frozen=True)
class Columns:
    """Under which names the two answers stand, and the prompt, empty where it stands within them or in fields of its own."""

    chosen: str = "chosen"
    rejected: str = "rejected"
    prompt: str = "prompt"


_USUAL: Final = Columns()


def preferences_of(
    rows: Sequence[Row], where: str, *, chosen: str = "", rejected: str = "", prompt: str = ""
) -> Callable[[Row], Draft[Preference]]:
    """The reader of rows like these first ones; names that are not given are found. Raises InputError where there are none."""
    found = Columns(
        column_of(rows, where, "prefer.data.chosen_column", asked=chosen, usual=CHOSEN, example=EXAMPLES),
        column_of(rows, where, "prefer.data.rejected_column", asked=rejected, usual=REJECTED, example=EXAMPLES),
        column_of(rows, where, "prefer.data.prompt_column", asked=prompt, usual=PROMPT, needed=False),
    )
    return partial(draft_preference, columns=found)


def draft_preference(row: Row, columns: Columns = _USUAL) -> Draft[Preference]:
    """A row as a preference. Raises WrongRowError."""
    fields = row.fields
    chosen, rejected = (fields.get(name) for name in (columns.chosen, columns.rejected))
    for name in (columns.chosen, columns.rejected):
        if name not in fields:
            raise WrongRowError("missing-column", f'no "{name}"; its keys are {keys_of(fields)}')
    if is_chat(chosen) or is_chat(rejected):
        return _chats(row, columns)
    texts = {name: text_of(fields, name) for name in (columns.chosen, columns.rejected)}
    if all(_TRANSCRIPT.match(text) for text in texts.values()):
        return _transcripts(row, columns, texts)
    return _texts(row, columns, texts)


def _texts(row: Row, columns: Columns, answers: Mapping[str, str]) -> Draft[Preference]:
    """Two answers as texts, and a prompt as a text, a chat, Alpaca's fields, or none."""
    asked = row.fields.get(columns.prompt) if columns.prompt else None
    whole = next((key for key in CHATS if row.fields.get(key) is not None), "")
    if whole or is_chat(asked):
        turns = read_turns(row.fields[whole] if whole else asked, whole or columns.prompt)
        return _pair(row, columns, turns, answers, f"chats ({whole or columns.prompt}) with a chosen and a rejected answer")
    if asked is None and "instruction" in row.fields:
        return _alpaca(row, columns, answers)
    if asked is None:
        return _pair(row, columns, [], answers, "a chosen and a rejected answer without a prompt")
    prompt = text_of(row.fields, columns.prompt)
    if _TRANSCRIPT.match(prompt) and prompt.rstrip().endswith("Assistant:"):
        return _transcripts(row, columns, {columns.prompt: prompt, **answers})
    form = f"a prompt ({columns.prompt}) with a chosen and a rejected answer"
    return _pair(row, columns, [*_system(row), _said("user", prompt, columns.prompt)], answers, form)


def _alpaca(row: Row, columns: Columns, answers: Mapping[str, str]) -> Draft[Preference]:
    asked = alpaca_question(row.fields)

    def make(texts: Mapping[str, str]) -> Preference:
        texts = {key: with_line_feeds(text) for key, text in texts.items()}
        system: tuple[Message, ...] = ({"role": "system", "content": texts["system"]},) if texts.get("system") else ()
        prompt: tuple[Message, ...] = (*system, {"role": "user", "content": question_of(texts)})
        return _preference(row, prompt, columns, texts[columns.chosen], texts[columns.rejected])

    return Draft({**asked, **answers}, make, "Alpaca (instruction, input) with a chosen and a rejected answer")


def _chats(row: Row, columns: Columns) -> Draft[Preference]:
    """Each answer as a chat, of which all but the last message is the prompt; or that message alone, after a prompt."""
    chosen, rejected = (
        read_turns(row.fields[name], name) if is_chat(row.fields[name]) else [_said("assistant", text_of(row.fields, name), name)]
        for name in (columns.chosen, columns.rejected)
    )
    before = chosen[:-1]
    if [(turn.role, turn.text.strip()) for turn in before] != [(turn.role, turn.text.strip()) for turn in rejected[:-1]]:
        raise WrongRowError("wrong-turns", f'"{columns.chosen}" and "{columns.rejected}" differ before their last message')
    asked = row.fields.get(columns.prompt) if columns.prompt else None
    whole = next((key for key in CHATS if row.fields.get(key) is not None), "")
    if before and before[0].role != "assistant":
        prompt = before
    elif whole or is_chat(asked):
        prompt = [*read_turns(row.fields[whole] if whole else asked, whole or columns.prompt), *before]
    elif isinstance(asked, str) and asked.strip():
        prompt = [*_system(row), _said("user", asked, columns.prompt), *before]
    else:
        prompt = before
    answers = {turn.field: turn.text for turn in (chosen[-1], rejected[-1])}
    named_so = replace(columns, chosen=chosen[-1].field, rejected=rejected[-1].field)
    for turn in (chosen[-1], rejected[-1]):
        if turn.role != "assistant":
            raise WrongRowError("wrong-turns", f"{turn.place} is the {turn.role}'s, where an answer has to be the last")
    return _pair(row, named_so, prompt, answers, "chats with a chosen and a rejected answer (lists of messages)")


def _transcripts(row: Row, columns: Columns, texts: Mapping[str, str]) -> Draft[Preference]:
    """Whole transcripts, which are read once they are clean: a finding's place is one in the transcript."""

    def make(texts: Mapping[str, str]) -> Preference:
        before = texts.get(columns.prompt, "").rstrip()
        whole = {name: f"{before} {texts[name]}" if before else texts[name] for name in (columns.chosen, columns.rejected)}
        chosen, rejected = (_transcript(text, name) for name, text in whole.items())
        if chosen[:-1] != rejected[:-1]:
            raise WrongRowError("wrong-turns", f'"{columns.chosen}" and "{columns.rejected}" differ before their last message')
        prompt = chat(chosen[:-1], {turn.field: turn.text for turn in chosen})
        return _preference(row, prompt, columns, chosen[-1].text, rejected[-1].text)

    return Draft(texts, make, "transcripts (Human and Assistant)")


def _transcript(text: str, key: str) -> list[Turn]:
    """The turns of a transcript. Raises WrongRowError where the two do not speak in turn."""
    pieces = _SPEAKER.split(with_line_feeds(text).strip())
    turns = []
    for number, (speaker, said) in enumerate(zip(pieces[1::2], pieces[2::2], strict=True), start=1):
        role = "user" if speaker == "Human" else "assistant"
        turns.append(Turn(role, said.strip(), str(number), f"message {number} of the transcripts", speaker))
    check_turns(turns, key)
    return turns


def _pair(row: Row, columns: Columns, prompt: Sequence[Turn], answers: Mapping[str, str], form: str) -> Draft[Preference]:
    if prompt:
        check_turns([*prompt, Turn("assistant", "", "", f'"{columns.chosen}"')], columns.chosen)

    def make(texts: Mapping[str, str]) -> Preference:
        chosen, rejected = (with_line_feeds(texts[name]) for name in (columns.chosen, columns.rejected))
        return _preference(row, chat(prompt, texts), columns, chosen, rejected)

    return Draft({**{turn.field: turn.text for turn in prompt}, **answers}, make, form)


def _preference(row: Row, prompt: tuple[Message, ...], columns: Columns, chosen: str, rejected: str) -> Preference:
    """Both answers are there, and they differ: white space around them is none of the chat's. Raises WrongRowError."""
    for name, answer in ((columns.chosen, chosen), (columns.rejected, rejected)):
        if not answer.strip():
            raise WrongRowError("empty-answer", f'"{name}" is empty')
    if chosen.strip() == rejected.strip():
        raise WrongRowError("same-answers", f'"{columns.chosen}" and "{columns.rejected}" are the same: {named(chosen.strip())}')
    return Preference(row.id, prompt, chosen, rejected)


def _system(row: Row) -> list[Turn]:
    system = text_of(row.fields, "system", needed=False)
    return [_said("system", system, "system")] if system.strip() else []


def _said(role: str, text: str, key: str) -> Turn:
    return Turn(role, text, key, f'"{key}"')
