"""Where rows of a kind come from: what every reader can read, and the refusal of a source in which something is wrong."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic

from infra.store.errors import InputError
from llm.data.cleaning.config import CleaningConfig
from llm.data.cleaning.pipeline import Cleaner
from llm.data.evaluation_sets import EvaluationSets
from llm.data.kinds.gather import gather, suited
from llm.data.kinds.kind import Kind, X
from llm.data.kinds.reader import Reader
from llm.data.kinds.result import Rows
from llm.data.reading.formats import TEXT
from llm.data.reading.found import Found, source_version
from llm.data.reading.inspect import inspect
from llm.data.reading.rows import peek, read
from llm.data.rows import Rejected, Row
from llm.data.splitting import Split

_WHY: Final = {
    "empty-answer": "Every example needs an answer to learn from.",
    "empty-question": "Every example needs a question.",
    "wrong-turns": "User and assistant speak in turn, the assistant last.",
    "same-answers": "Nothing is learnt from a choice between two that are the same.",
}
_ROWS: Final = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")
_PLACE: Final = re.compile(r"(, (?:line|row) [\d,]+)?: ")


def look(path: str) -> Found:
    """What is at `path`, without what is no rows: a folder of them has a README. Raises InputError where nothing is left."""
    found = inspect(path)
    files = tuple(file for file in found.files if file.format not in TEXT)
    if len(files) == len(found.files):
        return found
    if not files:
        raise InputError("text, and no rows", where=path, mend=f"Give rows: {', '.join(_ROWS)}, plain or packed.")
    skipped = Counter(found.skipped) + Counter(f".{file.format}" for file in found.files if file.format in TEXT)
    version = source_version({file.name: file.sha256 for file in files})
    return replace(found, files=files, version=version, skipped=dict(skipped))


@dataclass(frozen=True)
class Gathered(Generic[X]):
    """Rows of a source as it was when it was read, and the split of each that was kept. listed: the version of its files."""

    source: Found
    rows: Rows[X]
    splits: Sequence[Split]
    listed: str

    def check_unchanged(self, path: str) -> None:
        """Raises InputError where the files at `path` are not those that were read."""
        if look(path).version != self.listed:
            raise InputError("changed while it was read", where=path, mend="Start again when nobody writes to it.")


class Source(Generic[X]):
    """A source of rows of one kind, looked at: its files are known by content, its columns found. No row of it was judged yet.

    reader: how rows like some first ones become examples. Raises InputError where nothing can be read, or no columns are found.
    """

    def __init__(self, of: Kind[X], path: str, reader: Callable[[list[Row]], Reader[X]]) -> None:
        self.found = look(path)
        self._of, self._reader = of, reader(peek(self.found))

    def rows(self, cleaning: CleaningConfig | None = None) -> Rows[X]:
        """Every row, kept or rejected. cleaning: what is done to their texts; of it what suits such rows.

        Raises InputError for a source without a row, or an evaluation set that cannot be read.
        """
        sets = None if cleaning is None else EvaluationSets.of(cleaning)
        cleaner = None if cleaning is None else Cleaner(suited(cleaning), contamination=sets.index if sets else None)
        rows = gather(self._of, self._reader.prepared(read(self.found)), self._reader, cleaner)
        if not rows.rows:
            raise InputError("empty: it holds no rows", where=self.found.path, mend="Give a file with a row an example.")
        return replace(rows, recall=sets.recall([self._of.whole(each) for each in rows.kept])) if sets else rows

    def right_rows(self, setting: str, policy: str, cleaning: CleaningConfig | None = None) -> Rows[X]:
        """Every row, unless wrong ones are to be refused. setting: the recipe's key that says so, by `policy`.

        Raises InputError for the first wrong row, with its place and its mend.
        """
        rows = self.rows(cleaning)
        if policy == "refuse" and rows.wrong:
            raise self._refusal(rows.wrong, setting)
        return rows

    def counted(self, rows: Rows[X]) -> Found:
        """What is known of the source, with its rows counted."""
        names = [file.name for file in self.found.files]
        what = names[0] if len(names) == 1 else f"{len(names):,} files"
        return replace(self.found, summary=f"{rows.rows:,} rows in {what}; {rows.columns_found}")

    def _refusal(self, wrong: Sequence[Rejected], setting: str) -> InputError:
        first = min(wrong, key=lambda each: (self._place(each.source), each.row))
        alike = sum(each.reason == first.reason for each in wrong)
        others = len(wrong) - alike
        left_out = f"leave out the {alike:,} rows like it" if alike > 1 else "leave it out"
        more = f" (and the {others:,} wrong in another way)" if others else ""
        why = f". {_WHY[first.reason]}" if first.reason in _WHY else ""
        rest = first.detail.removeprefix(first.source)
        place = _PLACE.match(rest)
        return InputError(
            f"{rest[place.end() :] if place else first.detail}{why}",
            where=f"{self._location(first.source)}{(place and place[1]) or ''}",
            mend=f"Mend the row, or remove it, or pass --set {setting}=drop to {left_out}{more}.",
        )

    def _place(self, source: str) -> int:
        return next((place for place, file in enumerate(self.found.files) if file.name == source), 0)

    def _location(self, source: str) -> str:
        return next((file.location for file in self.found.files if file.name == source), source)
