"""Which documents are trained on and which are held back: decided by a hash of the name, never by place, time or company."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from infra.store.errors import InputError

Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")
_ENOUGH_PARENTS: Final = 200  # fewer whole documents than this: the split is by passage, else a split might hold one book
_KEPT_APART: Final = 1 << 20  # hashes gathered before repetitions are taken out: 8 MB


class Named(Protocol):
    """What a document is called. `parent` is the whole document that a passage was cut from."""

    @property
    def id(self) -> str: ...
    @property
    def parent(self) -> str: ...


@dataclass(frozen=True)
class SplitRule:
    """What decides: names whose hash is below `below_test` are tested on, others below `below_validation` looked at in training.

    by: whether the name is that of the whole document, so that its passages stay together, or of the passage.
    """

    by: Literal["document", "passage"]
    below_test: int
    below_validation: int

    def of(self, ids: Sequence[str], parents: Sequence[str]) -> NDArray[np.uint8]:
        """The split of each document, as its place in SPLITS: (documents,)."""
        hashes = hash_names(parents if self.by == "document" else ids)
        held_out = np.where(hashes < np.uint64(self.below_test), SPLITS.index("test"), SPLITS.index("validation"))
        return np.where(hashes < np.uint64(self.below_validation), held_out, SPLITS.index("train")).astype(np.uint8)


@dataclass(frozen=True)
class Splitting:
    """Which split each document belongs to; the same document always lands in the same one."""

    by: Literal["document", "passage"]
    splits: tuple[Split, ...]


def split_rule(names: Iterable[tuple[Sequence[str], Sequence[str]]], *, validation_share: float, test_share: float) -> SplitRule:
    """The rule for documents whose ids and parents come in blocks. Eight bytes a name are held, never the names.

    By hash of the document's id, so that a document stays where it is when others come and go. The passages of one long document
    stay together, unless there are too few whole documents to hold any back. Raises InputError for fewer than three documents.
    """
    parents, ids = _Distinct(), _Distinct()
    for some_ids, some_parents in names:
        parents.add(some_parents)
        if parents.fewer_than(_ENOUGH_PARENTS):  # for good, once there are enough
            ids.add(some_ids)
    by: Literal["document", "passage"] = "passage" if parents.fewer_than(_ENOUGH_PARENTS) else "document"
    ordered = (ids if by == "passage" else parents).sorted()
    if len(ordered) < 3:
        raise InputError(
            f"{len(ordered)} document(s) cannot be split into train, validation and test",
            where="data",
            mend="Give more text, or lower data.max_document_bytes so that it is cut into more passages.",
        )
    n_test = max(1, round(test_share * len(ordered)))
    n_validation = max(1, round(validation_share * len(ordered)))
    return SplitRule(by, int(ordered[n_test]), int(ordered[n_test + n_validation]))


def split_documents(documents: Iterable[Named], *, validation_share: float, test_share: float) -> Splitting:
    """The split of documents that are all at hand, by `split_rule`. Raises InputError for fewer than three."""
    named = [(document.id, document.parent) for document in documents]
    ids, parents = [name for name, _ in named], [parent for _, parent in named]
    rule = split_rule([(ids, parents)], validation_share=validation_share, test_share=test_share)
    return Splitting(rule.by, tuple(SPLITS[place] for place in rule.of(ids, parents)))


def hash_names(names: Sequence[str], salt: bytes = b"slipway split ") -> NDArray[np.uint64]:
    """64 bits of each name's sha256: (names,)."""
    digests = b"".join(hashlib.sha256(salt + name.encode()).digest()[:8] for name in names)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


class _Distinct:
    """Hashes of names, each once."""

    def __init__(self) -> None:
        self._known = np.empty(0, dtype=np.uint64)
        self._new: list[NDArray[np.uint64]] = []
        self._held = 0

    def add(self, names: Sequence[str]) -> None:
        hashes = np.unique(hash_names(list(dict.fromkeys(names))))
        self._new.append(hashes)
        self._held += len(hashes)
        if self._held > max(_KEPT_APART, len(self._known)):
            self.sorted()

    def fewer_than(self, count: int) -> bool:
        return len(self._known) < count and len(self.sorted()) < count

    def sorted(self) -> NDArray[np.uint64]:
        """In their order: (distinct,)."""
        if self._new:
            self._known = np.unique(np.concatenate([self._known, *self._new]))
            self._new, self._held = [], 0
        return self._known
