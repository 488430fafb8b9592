"""What a model will be tested on: the questions that data may not hold, and how many of them would be found in it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from llm.data.cleaning.config import CleaningConfig
from llm.data.cleaning.contamination import NgramIndex, is_trivial, question_texts
from llm.data.cleaning.injection import injection_recall
from llm.data.cleaning.split import Split, Vocabulary
from llm.data.reading.inspect import inspect
from llm.data.reading.rows import read
from llm.data.rows import Row

_INJECTED: Final = 200


@dataclass(frozen=True)
class EvaluationSets:
    """What is looked for: the index of all questions, and some of them to measure by."""

    index: NgramIndex
    questions: tuple[str, ...]

    @classmethod
    def of(cls, cleaning: CleaningConfig, texts: Mapping[str, Iterable[str]] = MappingProxyType({})) -> "EvaluationSets | None":
        """Those that a configuration names, and further texts by name; None without any. Raises InputError for one unread."""
        sets = {path: list(_questions(path)) for path in cleaning.evaluation_sets}
        sets |= {name: list(each) for name, each in texts.items()}
        if not sets:
            return None
        vocabulary, words = Vocabulary(), cleaning.contamination_words
        splits = {text: Split(text, vocabulary) for texts in sets.values() for text in texts}
        telling = [text for text, split in splits.items() if len(split.keys) >= words or not is_trivial(split)]
        return cls(NgramIndex.build(sets, words=words), tuple(_evenly(telling)))

    def recall(self, texts: Sequence[str]) -> float | None:
        """The share of questions that are found again once they stand in one of some texts; None where that cannot be told."""
        if not texts or not self.questions:
            return None
        return injection_recall(self.index, self.questions, _evenly(texts)).recall


def _questions(path: str) -> Iterator[str]:
    for item in read(inspect(path)):
        if isinstance(item, Row):
            yield from question_texts(item.fields)


def _evenly(texts: Sequence[str]) -> Sequence[str]:
    """Some of them, from the first to the last."""
    return texts[:: max(1, -(-len(texts) // _INJECTED))]
