"""How the rows of one source become examples: decided once, by its first rows."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from llm.data.kinds.draft import Draft
from llm.data.rows import Rejected, Row

E_co = TypeVar("E_co", covariant=True)


def as_they_are(rows: Iterable[Row | Rejected]) -> Iterator[Row | Rejected]:
    yield from rows


@dataclass(frozen=True)
class Reader(Generic[E_co]):
    """read: a row as a draft. columns: what is read as what, in words, where that is the same for all rows; else each draft says
    its form. prepared: the rows as `read` takes them.
    """

    read: Callable[[Row], Draft[E_co]]
    columns: str = ""
    prepared: Callable[[Iterable[Row | Rejected]], Iterator[Row | Rejected]] = as_they_are
