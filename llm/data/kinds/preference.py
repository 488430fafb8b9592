"""Rows as preferences: a chosen and a rejected answer, as texts, as chats or as transcripts, with a prompt of its own or within.

The forms are those of the public sets: `prompt`, `chosen`, `rejected` as texts or as lists of messages (TRL, UltraFeedback); whole
transcripts of "Human:" and "Assistant:" (Bai et al. 2022); Alpaca's instruction and input, or a chat, beside the two answers.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from llm.data.instructions import digest
from llm.data.kinds.draft import Draft, WrongRowError, keys_of, text_of, value_named, with_line_feeds
from llm.data.kinds.instruction import asked, asking, with_optional
from llm.data.kinds.kind import Kind
from llm.data.kinds.reader import Reader
from llm.data.kinds.turns import Turn, chat, check_turns, is_chat, read_turns
from llm.data.preferences import Preference
from llm.data.reading.columns import preference_columns
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
CHATS: Final = ("messages", "conversations")
"""Columns whose chat is the prompt, where the answers stand beside it."""
_STANDARD: Final = {name: name for name in ("chosen", "rejected", "prompt", "input", "system")}
_BOTH: Final = "a chosen and a rejected answer"
_SPEAKER: Final = re.compile(r"(?:^|\n\n)(Human|Assistant):[ \t]?")
_TRANSCRIPT: Final = re.compile(r"\s*Human:.*\n\nAssistant:", re.DOTALL)


@dataclass(frozen=True)
class Before:
    """What stands before two answers: its texts by field, the chat that they make, and of what form it is."""

    texts: Mapping[str, str]
    prompt: Callable[[Mapping[str, str]], tuple[Message, ...]]
    form: str


def preferences_of(rows: Sequence[Row], named: Mapping[str, str] | None = None) -> Reader[Preference]:
    """The reader of rows like these first ones; each row shows its own form. named: the columns that a recipe names, by part.

    Raises InputError where there is no chosen or no rejected answer.
    """
    return Reader(partial(draft_preference, names=preference_columns(rows, named).names if rows else _STANDARD))


def draft_preference(row: Row, names: Mapping[str, str] = _STANDARD) -> Draft[Preference]:
    """A row as a preference. names: columns by part, `chosen` and `rejected`, and `prompt`, `input` and `system` where they are.

    Raises WrongRowError.
    """
    both, prompt = (names["chosen"], names["rejected"]), row.fields.get(names.get("prompt", ""))
    for name in both:
        if name not in row.fields:
            raise WrongRowError("missing-column", f'no "{name}"; its keys are {keys_of(row.fields)}')
    if any(is_chat(row.fields[name]) for name in both):
        return _chats(row, names)
    answers = {name: text_of(row.fields, name) for name in both}
    if all(_TRANSCRIPT.match(text) for text in answers.values()):
        return _transcripts(row, names, answers)
    if isinstance(prompt, str) and _TRANSCRIPT.match(prompt) and prompt.rstrip().endswith("Assistant:"):
        return _transcripts(row, names, {names["prompt"]: prompt, **answers})
    return _texts(row, names, _before(row, names), answers)


def _before(row: Row, names: Mapping[str, str]) -> Before:
    """The prompt of a row that has one beside its answers. Raises WrongRowError."""
    column = names.get("prompt", "")
    value = row.fields.get(column)
    whole = next((name for name in CHATS if row.fields.get(name) is not None), "")
    if whole or is_chat(value):
        return _turns(read_turns(row.fields[whole] if whole else value, whole or column), f"chats ({whole or column}) with {_BOTH}")
    if value is None:
        return Before({}, lambda texts: (), f"{_BOTH}, without a prompt")
    said = {"instruction": column, **{part: names[part] for part in ("input", "system") if part in names}}
    parts = with_optional(said)
    return Before(asking(row, parts), lambda texts: asked(parts, texts), f"a prompt ({', '.join(said.values())}) with {_BOTH}")


def _turns(turns: Sequence[Turn], form: str) -> Before:
    """A chat before two answers, of which the user has the last word, or none. Raises WrongRowError."""
    if turns:
        check_turns([*turns, Turn("assistant", "", "", "the answer")], "the prompt")
    return Before({turn.field: turn.text for turn in turns}, lambda texts: chat(turns, texts), form)


def _texts(row: Row, names: Mapping[str, str], before: Before, answers: Mapping[str, str]) -> Draft[Preference]:
    """The prompt and its two answers, under the fields in which they stand."""
    fields = list(answers)

    def make(texts: Mapping[str, str]) -> Preference:
        chosen, rejected = (with_line_feeds(texts[field]) for field in fields)
        return _preference(row, names, before.prompt(texts), chosen, rejected)

    return Draft({**before.texts, **answers}, make, before.form)


def _chats(row: Row, names: Mapping[str, str]) -> Draft[Preference]:
    """Each answer as a chat, of which all but the last message is the prompt; or that message alone, after a prompt."""
    chosen, rejected = (_answer(row, names[part]) for part in ("chosen", "rejected"))
    shared = chosen[:-1]
    if [(turn.role, turn.text.strip()) for turn in shared] != [(turn.role, turn.text.strip()) for turn in rejected[:-1]]:
        raise _differ(names)
    answers = {turn.field: turn.text for turn in (chosen[-1], rejected[-1])}
    form = f"chats with {_BOTH} ({names['chosen']}, {names['rejected']})"
    return _texts(row, names, _turns(shared, form) if shared else _before(row, names), answers)


def _answer(row: Row, name: str) -> list[Turn]:
    """The turns under a name, the last of which is the answer. Raises WrongRowError."""
    value = row.fields[name]
    turns = read_turns(value, name) if is_chat(value) else [Turn("assistant", text_of(row.fields, name), name, f'"{name}"')]
    if turns[-1].role != "assistant":
        raise WrongRowError("wrong-turns", f"{turns[-1].place} is the {turns[-1].role}'s, where an answer has to be the last")
    return turns


def _transcripts(row: Row, names: Mapping[str, str], texts: Mapping[str, str]) -> Draft[Preference]:
    """Whole transcripts, which are cut into turns once they are clean: a finding's place is one in the transcript."""

    def make(texts: Mapping[str, str]) -> Preference:
        before = texts.get(names.get("prompt", ""), "").rstrip()
        chosen, rejected = (_transcript(f"{before} {texts[names[part]]}", names[part]) for part in ("chosen", "rejected"))
        if chosen[:-1] != rejected[:-1]:
            raise _differ(names)
        prompt = chat(chosen[:-1], {turn.field: turn.text for turn in chosen})
        return _preference(row, names, prompt, chosen[-1].text, rejected[-1].text)

    return Draft(texts, make, "transcripts (Human and Assistant)")


def _transcript(text: str, name: str) -> list[Turn]:
    """The turns of a transcript. Raises WrongRowError where the two do not speak in turn."""
    pieces = _SPEAKER.split(with_line_feeds(text).strip())
    turns = []
    for number, (speaker, said) in enumerate(zip(pieces[1::2], pieces[2::2], strict=True), start=1):
        role = "user" if speaker == "Human" else "assistant"
        turns.append(Turn(role, said.strip(), str(number), f"message {number} of the transcripts", speaker))
    check_turns(turns, name)
    return turns


def _preference(row: Row, names: Mapping[str, str], prompt: tuple[Message, ...], chosen: str, rejected: str) -> Preference:
    """Both answers are there, and they differ: white space around them is none of the chat's. Raises WrongRowError."""
    for name, answer in ((names["chosen"], chosen), (names["rejected"], rejected)):
        if not answer.strip():
            raise WrongRowError("empty-answer", f'"{name}" is empty')
    if chosen.strip() == rejected.strip():
        detail = f'"{names["chosen"]}" and "{names["rejected"]}" are the same: {value_named(chosen.strip())}'
        raise WrongRowError("same-answers", detail)
    return Preference(row.id, prompt, chosen, rejected)


def _differ(names: Mapping[str, str]) -> WrongRowError:
    return WrongRowError("wrong-turns", f'"{names["chosen"]}" and "{names["rejected"]}" differ before their last message')
