"""How many leaked questions the search for contamination finds: known ones are put into clean documents, wrapped anew."""

import random
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from llm.data.cleaning.contamination import NgramIndex
from llm.data.cleaning.split import Split, Vocabulary

_WIDTHS = (30, 50, 72, 100)  # characters of a line
_MARGINS = ("", "    ", "> ", "* ")


@dataclass(frozen=True)
class InjectionRecall:
    """Of `injected` documents with a question in them `found` were found; of the same documents without one, `false_alarms`."""

    injected: int
    found: int
    false_alarms: int

    @property
    def recall(self) -> float:
        return self.found / self.injected if self.injected else 0.0


def injection_recall(index: NgramIndex, questions: Sequence[str], documents: Sequence[str], *, seed: int = 0) -> InjectionRecall:
    """Puts each question into one of the documents (in turn) at a random word, in lines of another width and margin."""
    draw, vocabulary = random.Random(seed), Vocabulary()
    found = 0
    for place, question in enumerate(questions):
        found += index.overlap(Split(inject(question, documents[place % len(documents)], draw), vocabulary)) is not None
    false_alarms = sum(index.overlap(Split(document, vocabulary)) is not None for document in documents)
    return InjectionRecall(len(questions), found, false_alarms)


def inject(question: str, document: str, draw: random.Random) -> str:
    """The document with the question between two of its words."""
    margin = draw.choice(_MARGINS)
    wrapped = textwrap.indent(textwrap.fill(question, draw.choice(_WIDTHS), break_long_words=False), margin)
    words = document.split(" ")
    at = draw.randrange(len(words) + 1)
    return f"{' '.join(words[:at])}\n{wrapped}\n{' '.join(words[at:])}"
