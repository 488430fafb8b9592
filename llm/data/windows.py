"""Windows of places that are never read, such as steps 880 to 920. Loads without numpy: configurations check them."""

import re
from collections.abc import Iterable

from infra.store.errors import InputError

Windows = tuple[tuple[int, int], ...]
"""Places from each window's first to before its second number, counted from 0: in order, apart from each other."""


def windows(texts: Iterable[str], where: str, *, counted_from: int = 0) -> Windows:
    """`880-920` is every place from 880 to 920, both included, `7` is one. Raises InputError naming what is neither."""
    found = []
    for text in texts:
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", text)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match is None or first < counted_from or last < first:
            raise InputError(
                f"{text!r} is no window from {counted_from} upwards", where=where, mend="Write it as 880-920, or as one number."
            )
        found.append((first - counted_from, last - counted_from + 1))
    return merged(found)


def merged(found: Iterable[tuple[int, int]]) -> Windows:
    """The same places in order, those that touch or overlap as one."""
    whole: list[tuple[int, int]] = []
    for first, end in sorted(found):
        if whole and first <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(end, whole[-1][1]))
        else:
            whole.append((first, end))
    return tuple(whole)
