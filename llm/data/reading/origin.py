"""What every reader makes rows and rejected rows with: they differ by where they come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm.data.rows import Rejected, Row


@dataclass(frozen=True)
class Origin:
    """A file by its name, the column that holds ids of its rows where there is one, and what its rows are counted by."""

    source: str
    id_column: str = "id"
    unit: str = "row"

    def row(self, number: int, fields: Mapping[str, Any]) -> Row:
        return Row(self._id(number, fields), self.source, number, fields)

    def rejected(self, number: int, reason: str, detail: str, text: str = "", fields: Mapping[str, Any] | None = None) -> Rejected:
        """detail: a phrase that follows the place, which is put before it. fields: where the row has them, for its own id."""
        return Rejected(
            self._id(number, fields or {}), self.source, number, reason, f"{self.source}, {self.unit} {number}: {detail}", text
        )

    def unreadable(self, number: int, what: str, given: int) -> Rejected:
        """The rest of a file, from this row on, after so many that were given."""
        detail = f"{self.source}: {what}"
        if given:
            detail += f"; {given:,} row{'s' * (given > 1)} before {self.unit} {number} could be read"
        return Rejected(f"{self.source}:{number}", self.source, number, "unreadable-file", detail)

    def _id(self, number: int, fields: Mapping[str, Any]) -> str:
        own = fields.get(self.id_column)
        if isinstance(own, str | int) and not isinstance(own, bool) and own != "" and _writable(own):
            return str(own)
        return f"{self.source}:{number}"


def _writable(value: str | int) -> bool:
    if isinstance(value, int):
        return value.bit_length() < 8_000  # Python writes no longer ones out
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def unlike(names: list[str]) -> list[str]:
    """Column names made different from each other, and from nothing: the second `a` is `a (2)`, an empty third `column 3`."""
    seen: dict[str, int] = {}
    made = []
    for place, name in enumerate(names, start=1):
        name = name or f"column {place}"
        seen[name] = seen.get(name, 0) + 1
        made.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return made
