"""Chats as rows spell them: messages of role and content, or ShareGPT's from and value, in turn and none without a word."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llm.data.kinds.draft import WrongRowError, value_named, with_line_feeds
from llm.text.chat import Message

SPEAKERS: Final = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


@dataclass(frozen=True)
class Spelling:
    """Under which names a message says who speaks and what is said, and which roles the speakers' names stand for."""

    role: str
    content: str
    roles: Mapping[str, str]


MESSAGES: Final = Spelling("role", "content", {"user": "user", "assistant": "assistant", "system": "system"})
SHAREGPT: Final = Spelling("from", "value", SPEAKERS)


@dataclass(frozen=True)
class Turn:
    """One message: whose it is, its text, the `field` where that stands, `place`, which names the message in a phrase, and
    `content`, the key of the text in it, where it is an object.
    """

    role: str
    text: str
    field: str
    place: str
    content: str = ""

    def message(self, texts: Mapping[str, str]) -> Message:
        """With its text as it is among `texts`, cleaned perhaps."""
        return {"role": self.role, "content": with_line_feeds(texts[self.field])}


def is_chat(value: Any) -> bool:
    """Whether a value is a list of messages, a message, or, in a format without lists, the JSON of one."""
    return isinstance(value, list | dict) or (isinstance(value, str) and _unpacked(value) is not value)


def read_turns(value: Any, key: str, spelling: Spelling | None = None) -> list[Turn]:
    """The messages under a key; their spelling is seen from the first one where none is given. Raises WrongRowError."""
    turns = _unpacked(value)
    turns = [turns] if isinstance(turns, dict) else turns
    if not isinstance(turns, list):
        reason = "missing-column" if turns is None else "wrong-turns"
        raise WrongRowError(reason, f'"{key}" is {value_named(turns)}, not a list of messages')
    if not turns:
        raise WrongRowError("wrong-turns", f'"{key}" is empty')
    first = turns[0]
    spelling = spelling or (SHAREGPT if isinstance(first, dict) and "role" not in first and "from" in first else MESSAGES)
    return [_turn(turn, key, number, spelling) for number, turn in enumerate(turns, start=1)]


def check_turns(turns: Sequence[Turn], key: str) -> None:
    """After an optional system message, user and assistant in turn, the assistant last. Raises WrongRowError."""
    first = int(bool(turns) and turns[0].role == "system")
    for number, turn in enumerate(turns):
        due = "system" if number < first else ("user", "assistant")[(number - first) % 2]
        if turn.role != due:
            detail = f"{turn.place} is the {turn.role}'s, here it is the {due}'s turn"
            raise WrongRowError("wrong-turns", detail)
    if not turns or turns[-1].role != "assistant":
        raise WrongRowError("wrong-turns", f'"{key}" ends without an answer')


def chat(turns: Sequence[Turn], texts: Mapping[str, str]) -> tuple[Message, ...]:
    """The chat of these turns and texts. Raises WrongRowError where somebody says nothing."""
    messages = []
    for turn in turns:
        message = turn.message(texts)
        if not message["content"].strip():
            reason = "empty-answer" if turn.role == "assistant" else "empty-question"
            raise WrongRowError(reason, f'{turn.place}: "{turn.content}" is empty' if turn.content else f"{turn.place} is empty")
        messages.append(message)
    return tuple(messages)


def _turn(turn: Any, key: str, number: int, spelling: Spelling) -> Turn:
    place = f'"{key}", message {number}'
    if not isinstance(turn, dict):
        detail = f"{place} is {value_named(turn)}, not an object with {spelling.role} and {spelling.content}"
        raise WrongRowError("wrong-turns", detail)
    speaker = turn.get(spelling.role)
    if not isinstance(speaker, str) or speaker not in spelling.roles:
        known = ", ".join(spelling.roles)
        raise WrongRowError("wrong-turns", f'{place}: "{spelling.role}" is {value_named(speaker)}, which is none of {known}')
    said = turn.get(spelling.content)
    if not isinstance(said, str):
        raise WrongRowError("not-text", f'{place}: "{spelling.content}" is {value_named(said)}, not a string')
    field = f"{key}.{number - 1}.{spelling.content}"
    return Turn(spelling.roles[speaker], said, field, place, spelling.content)


def _unpacked(value: Any) -> Any:
    """A list or an object that a .csv file holds as JSON in a text, else the value itself."""
    if isinstance(value, str) and value.lstrip()[:2] in ("[{", "[ ", "[\n") and value.rstrip().endswith("]"):
        try:
            unpacked = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return unpacked if isinstance(unpacked, list) else value
    return value
