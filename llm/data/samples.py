"""A few rows of any dataset, evenly chosen, as they read: the same ones whenever it is asked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from infra.store.errors import InputError
from infra.store.manifest import Thing
from llm.data.classification import read_examples
from llm.data.corpus import read_rows
from llm.data.instructions import read_instructions
from llm.data.preferences import read_preferences
from llm.data.splitting import SPLITS, Split
from llm.data.tokens import TokenStream
from llm.text.files import TOKENIZER_FILES
from llm.text.tokenizer import Tokenizer

T = TypeVar("T")
Sample = dict[str, Any]


def samples(dataset: Thing, count: int, split: Split | None = None) -> list[Sample]:
    """At most `count` rows of a split, of the training one by default: `id` where rows have one, and what the kind is made of.

    tokens: `document` (its place in the split), `tokens`, `text`, decoded with the tokenizer beside them; corpus: `source`, `text`;
    instruction: `messages`; classification: `text`, `label`; preference: `prompt`, `chosen`, `rejected`. Raises InputError for a
    split that a corpus, which is not split yet, has not, and DamagedError for a file that was changed.
    """
    kind = str(dataset.facts.get("kind"))
    if kind == "corpus":
        if split is not None:
            raise InputError("a corpus is not split yet", where="--split", mend="Show its tokens: they are split by document.")
        found = read_rows(dataset, even(int(dataset.facts["rows"]), count))
        return [{"id": each.id, "source": each.source, "text": each.text} for _, each in sorted(found.items())]
    if kind not in _READERS:
        raise InputError(f"no rows of the kind {kind!r} are shown", where=dataset.prefix, mend="Ask for its card: --samples 0.")
    return [{"split": split or SPLITS[0], **sample} for sample in _READERS[kind](dataset, split or SPLITS[0], count)]


def even(total: int, count: int) -> list[int]:
    """`count` places of 0 to total - 1 that lie evenly, or all."""
    count = min(total, count)
    return [(2 * number + 1) * total // (2 * count) for number in range(count)]


def _tokens(dataset: Thing, split: Split, count: int) -> list[Sample]:
    stream, tokenizer = TokenStream(dataset, split), Tokenizer.load(dataset.folder(*TOKENIZER_FILES))
    rows = ((number, stream.document(number).tolist()) for number in even(len(stream.document_starts()), count))
    return [{"document": number, "tokens": len(ids), "text": tokenizer.decode(ids)} for number, ids in rows]


def _instructions(dataset: Thing, split: Split, count: int) -> list[Sample]:
    return [{"id": row.id, "messages": list(row.messages)} for row in _chosen(read_instructions(dataset, split), count)]


def _examples(dataset: Thing, split: Split, count: int) -> list[Sample]:
    return [{"id": row.id, "label": row.label, "text": row.text} for row in _chosen(read_examples(dataset, split), count)]


def _preferences(dataset: Thing, split: Split, count: int) -> list[Sample]:
    rows = _chosen(read_preferences(dataset, split), count)
    return [{"id": row.id, "prompt": list(row.prompt), "chosen": row.chosen, "rejected": row.rejected} for row in rows]


def _chosen(rows: Sequence[T], count: int) -> list[T]:
    return [rows[place] for place in even(len(rows), count)]


_READERS: Final[Mapping[str, Callable[[Thing, Split, int], list[Sample]]]] = {
    "tokens": _tokens,
    "instruction": _instructions,
    "classification": _examples,
    "preference": _preferences,
}
