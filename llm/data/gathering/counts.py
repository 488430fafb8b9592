"""What a gathering counted, in the words of the profile, with the first rows that show each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from llm.data.cleaning.config import CleaningConfig
from llm.data.counted import Counted, Example
from llm.data.gathering.gather import Gathered
from llm.data.gathering.tables import FINDINGS, REJECTED, row_groups
from llm.data.rows import Rejected

_SHOWN: Final = 3


def counted(gathered: Gathered, config: CleaningConfig) -> Counted:
    """config: by which it was cleaned."""
    return Counted(
        rows=gathered.rows,
        rejected=gathered.rejected,
        found=gathered.found,
        found_rows=gathered.found_rows,
        personal=config.pii != "ignore",
        replaced=config.pii == "replace",
        contamination=bool(config.evaluation_sets),
        recall=gathered.recall,
        examples=(*_turned_away(gathered), *_found(gathered)),
    )


def rejected_rows(path: Path) -> Iterator[Rejected]:
    """Every row of a table of rejected ones, in order, one row group in memory at a time."""
    for columns in row_groups(path, REJECTED.names):
        yield from map(Rejected, *columns)


def _turned_away(gathered: Gathered) -> Iterator[Example]:
    wanted = dict.fromkeys(gathered.rejected, _SHOWN)
    for row in rejected_rows(gathered.rejected_file):
        if wanted[row.reason]:
            wanted[row.reason] -= 1
            yield Example(row.reason, row.id, row.source, row.row, row.detail, row.text)
        if not any(wanted.values()):
            return


def _found(gathered: Gathered) -> Iterator[Example]:
    wanted = dict.fromkeys(gathered.found_rows, _SHOWN)
    last: dict[str, Any] = {}
    for columns in row_groups(gathered.findings_file, FINDINGS.names):
        for identity, kind, start, end, _ in zip(*columns, strict=True):
            if wanted.get(kind) and last.get(kind) != identity:  # one a document
                wanted[kind], last[kind] = wanted[kind] - 1, identity
                yield Example(kind, identity, "", 0, f"{kind} at characters {start:,} to {end:,}", "")
        if not any(wanted.values()):
            return
