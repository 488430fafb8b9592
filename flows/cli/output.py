"""One way to print: a JSON document on standard output, or text for people; everything else goes to standard error."""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.store.errors import SlipwayError


def emit(document: Mapping[str, Any], as_json: bool, text: str | Callable[[], str]) -> None:
    """Prints the document where `--json` was asked for, else the text."""
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")
    else:
        sys.stdout.write((text if isinstance(text, str) else text()).rstrip("\n") + "\n")
    sys.stdout.flush()


def note(message: str) -> None:
    """A line for people beside the result."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def print_error(error: SlipwayError, as_json: bool, *, code: str = "") -> None:
    if as_json:
        document = error.document()
        document["error"]["code"] = code or error.code
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    else:
        note(f"slipway: {error}")


def keep_traceback(text: str) -> Path:
    """Writes a traceback beside the other logs, or where that fails among the temporary files, and returns its path."""
    from infra.settings import Settings  # only where something went wrong

    name = f"error-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    try:
        folder = Settings.load().home / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    except (OSError, SlipwayError):
        folder = Path(tempfile.mkdtemp(prefix="slipway-"))
        (folder / name).write_text(text)
    return folder / name


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns of text under a head; numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(title), *(len(row[column]) for row in cells)]) for column, title in enumerate(head)]
    right = [bool(rows) and all(isinstance(row[column], int | float) for row in rows) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(
            text.rjust(width) if numeric else text.ljust(width) for text, width, numeric in zip(row, widths, right, strict=True)
        ).rstrip()

    return "\n".join([line(head), line(["-" * width for width in widths]), *(line(row) for row in cells)])


def size(count: float) -> str:
    """Bytes for people: 1.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """2 min 05 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
