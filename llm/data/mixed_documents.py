"""Documents of several sources on their way into one mixture: what is noted of each, and how often each is taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from infra.store.errors import InputError
from infra.store.manifest import Thing
from llm.data.mixing import Taken, source_of
from llm.data.splitting import hash_names

MIX: Final = "train.mix"
"""The file that says of each training document of a part what mixing asks, 26 bytes each."""
_MIX: Final = np.dtype([("hash", "<u8"), ("bytes", "<u8"), ("tokens", "<u8"), ("source", "<u2")])


@dataclass(frozen=True)
class Copies:
    """How often each training document is taken: every one of a source so many times, and those below a hash once more."""

    times: NDArray[np.int64]  # (sources,)
    below: tuple[int, ...]  # of 2^64

    def of(self, documents: NDArray[Any]) -> NDArray[np.int64]:
        """From what `train.mix` says of them: (documents,)."""
        return self.counts(documents["hash"], documents["source"])

    def counts(self, hashes: NDArray[np.uint64], sources: NDArray[Any]) -> NDArray[np.int64]:
        """From the hashes of their ids, and their sources: (documents,)."""
        counts: NDArray[np.int64] = self.times[sources]
        for source, below in enumerate(self.below):
            once_more = sources == source
            if below < 1 << 64:
                once_more &= hashes < np.uint64(below)
            counts = counts + once_more
        return counts

    def most(self, part: Thing) -> int:
        """How often the documents of a part are taken at most."""
        return int(self.of(mix_of(part)).max(initial=0))


def mix_hashes(ids: Sequence[str]) -> NDArray[np.uint64]:
    """What decides which documents are taken once more: others than those of the split."""
    return hash_names(ids, b"slipway mix ")


def choose_copies(parts: Sequence[Thing], taken: Mapping[str, Taken]) -> Copies:
    """How often each document is taken, as `mix` wants it of its source: which are taken once more is decided by their hash.

    Sixteen bytes a training document are held, for one source at a time.
    """
    below = []
    for source, each in enumerate(taken.values()):
        rows = [
            (rows["hash"][mask], rows["tokens"][mask]) for rows in map(mix_of, parts) if (mask := rows["source"] == source).any()
        ]
        hashes, tokens = (np.concatenate(column) for column in zip(*rows, strict=True))
        order = np.argsort(hashes)
        upto = np.append(0, np.cumsum(tokens[order].astype(np.int64)))
        count = int(np.abs(upto - each.more).argmin())
        below.append(int(hashes[order[count]]) if count < len(order) else 1 << 64)
    return Copies(np.array([each.copies for each in taken.values()], dtype=np.int64), tuple(below))


def tokens_taken(parts: Sequence[Thing], copies: Copies) -> list[int]:
    """Training tokens of each source as they come out, repetitions included."""
    total = np.zeros(len(copies.times), dtype=np.int64)
    for rows in map(mix_of, parts):
        np.add.at(total, rows["source"], copies.of(rows) * rows["tokens"].astype(np.int64))
    found: list[int] = total.tolist()
    return found


def mix_of(part: Thing) -> NDArray[Any]:
    """What `train.mix` says of a part's training documents: hash, bytes, tokens and source of each."""
    return np.fromfile(part.path(MIX), dtype=_MIX) if MIX in part.files else np.empty(0, dtype=_MIX)


class MixWriter:
    """Writes `train.mix` as the documents come."""

    def __init__(self, folder: Path, sources: tuple[str, ...]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file, self._sources = (folder / MIX).open("wb"), sources
        self._tokens = np.zeros(len(sources), dtype=np.int64)
        self._place = cache(self._find)

    def add(
        self,
        ids: Sequence[str],
        sources: Sequence[str],
        sizes: NDArray[np.int64],
        lengths: NDArray[np.int64],
        chosen: NDArray[np.bool_],
    ) -> None:
        rows = np.empty(len(ids), dtype=_MIX)
        rows["hash"], rows["bytes"], rows["tokens"] = mix_hashes(ids), sizes, lengths
        rows["source"] = [self._place(name) for name in sources]
        self._file.write(rows[chosen].tobytes())
        np.add.at(self._tokens, rows["source"][chosen], lengths[chosen])

    def tokens(self) -> dict[str, int]:
        """Training tokens of each source."""
        return dict(zip(self._sources, self._tokens.tolist(), strict=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def _find(self, path: str) -> int:
        name = source_of(path, self._sources)
        if not name:
            raise InputError(
                f"a document of {path} belongs to none of the sources that have a weight",
                where="data.sources",
                mend=f"Give every source a weight; known are {', '.join(self._sources)}.",
            )
        return self._sources.index(name)
