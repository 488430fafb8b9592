"""Tables without a header: what was taken for one is the first row. Labelled texts are often handed on so."""

from collections.abc import Iterable, Iterator, Sequence

from llm.data.rows import Rejected, Row

_TABLES = (".csv", ".tsv")


def is_headless(rows: Sequence[Row], label: str) -> bool:
    """Whether the column of labels is called by one of its labels, in a table of two columns: then nobody has named it."""
    if not rows or not all(_is_table(row.source) and len(row.fields) == 2 for row in rows):
        return False
    return any(str(row.fields.get(label, "")).strip() == label.strip() for row in rows)


def with_first_lines(rows: Iterable[Row | Rejected]) -> Iterator[Row | Rejected]:
    """The rows, and before those of each file the one that its columns are called by, all under the names of the first file."""
    names: list[str] = []
    seen = ""
    for row in rows:
        if isinstance(row, Rejected):
            yield row
            continue
        names = names or list(row.fields)
        if row.source != seen:
            seen = row.source
            yield Row(f"{row.source}:1", row.source, 1, dict(zip(names, row.fields, strict=False)))
        yield Row(row.id, row.source, row.number, dict(zip(names, row.fields.values(), strict=False)))


def _is_table(source: str) -> bool:
    return any(suffix in source.lower() for suffix in _TABLES)
