"""Token ids to text while they come: never half a character, never a piece of a stop string."""

from collections.abc import Sequence
from typing import Protocol

_UNFINISHED = "\ufffd"  # what a decoder makes of half a UTF-8 character


class Decoder(Protocol):
    def decode(self, ids: Sequence[int]) -> str: ...


class TextStream:
    """The text of a growing sequence, piece by piece, without the prompt's.

    Decodes each piece together with the one before it: a decoder may treat the first token of a text differently.
    """

    def __init__(self, tokenizer: Decoder, prompt: Sequence[int]) -> None:
        self._decode = tokenizer.decode
        self._ids = list(prompt)
        self._from, self._to = 0, len(self._ids)  # the ids whose text is out already, from the last piece on
        self._shown, self._held = self._decode(self._ids), ""

    def push(self, index: int) -> str:
        """What the next id adds to the text; nothing while a character is unfinished."""
        self._ids.append(index)
        text = self._decode(self._ids[self._from :])[len(self._shown) :]
        if not text or text.endswith(_UNFINISHED):
            self._held = text
            return ""
        self._from, self._to, self._held = self._to, len(self._ids), ""
        self._shown = self._decode(self._ids[self._from : self._to])
        return text

    def rest(self) -> str:
        """What was held back at the end, without the character that stays unfinished."""
        return self._held.rstrip(_UNFINISHED)


class StopStrings:
    """Cuts a streamed text before the first of the stop strings, also where one comes in several pieces."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """What of the text is safe to show: all that cannot be the beginning of a stop string. Nothing once one was found."""
        if self.found:
            return ""
        text, self._held = self._held + text, ""
        ends = [end for stop in self._stops if (end := text.find(stop)) >= 0]
        if ends:
            self.found = True
            return text[: min(ends)]
        safe = len(text) - self._beginning(text)
        self._held = text[safe:]
        return text[:safe]

    def rest(self) -> str:
        """What was held back, when the text ends without the stop string that it seemed to begin."""
        held, self._held = self._held, ""
        return held

    def _beginning(self, text: str) -> int:
        """The length of the longest end of the text with which a stop string begins."""
        longest = min(len(text), max((len(stop) for stop in self._stops), default=0))
        return next((n for n in range(longest, 0, -1) if any(stop.startswith(text[-n:]) for stop in self._stops)), 0)
