"""A kind of rows as gathering and counting ask for it: what an example's texts are, and what makes two the same."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

KindName = Literal["instruction", "preference", "classification"]


class Example(Protocol):
    """What all examples have: `id` says where one came from."""

    @property
    def id(self) -> str: ...


X = TypeVar("X", bound=Example)


@dataclass(frozen=True)
class Kind(Generic[X]):
    """texts: all that an example says. answers: what is learnt from it, empty where that is no text. preview: it on one line.

    same: what two examples have in common where the second repeats the first. says: what must not differ between such two, since
    a model cannot learn both; the same for all where nothing can. name_of: the label of a labelled text, else nothing.
    """

    name: KindName
    texts: Callable[[X], tuple[str, ...]]
    preview: Callable[[X], str]
    same: Callable[[X], str]
    says: Callable[[X], str] = lambda example: ""
    answers: Callable[[X], tuple[str, ...]] = lambda example: ()
    label: Callable[[X], str] = lambda example: ""

    def whole(self, example: X) -> str:
        """An example as one text."""
        return "\n\n".join(self.texts(example))
