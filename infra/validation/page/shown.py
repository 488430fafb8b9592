"""Values as the page shows them: escaped text, numbers in the unit that their name tells, shares as bars."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from infra.validation.page.charts import size

_PERCENT: Final = ("_share", "_drift", "_recall")


def text(value: object) -> str:
    """Escaped, and without what turns the direction of a line or hides in it."""
    return escape(str(value).translate(_INVISIBLE))


def wanted(each: Mapping[str, Any]) -> str:
    """A judgement's limit."""
    if each["limit"] is None:
        return text(each["asked"])
    return f"{'at least' if each['name'].startswith('min_') else 'at most'} {value(each['name'], each['limit'])}"


def value(name: str, number: float | None) -> str:
    """A number in the unit that its name tells."""
    if number is None:
        return "–"
    if name.endswith(_PERCENT) and not name.endswith("length_drift"):  # an index, not a share
        return _percent(number)
    if name.endswith("bytes"):
        return size(number)
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:,.4g}"


def share(count: float, of: float) -> str:
    return _percent(count / of) if of else "–"


def meter(part: float, tone: str = "") -> str:
    """A bar that is filled to this part of it."""
    return f'<span class="meter"><i class="{tone}" style="width:{100 * min(1.0, part):.1f}%"></i></span>'


def ordered(counts: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    """The largest first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def counted(n: int, word: str) -> str:
    return f"{n:,} {word}{'s' * (n != 1)}"


def _percent(part: float) -> str:
    percent = 100 * part
    return f"{percent:,.0f} %" if abs(percent) >= 100 else f"{percent:.3g} %"


def _named(*codes: Iterable[int]) -> dict[int, str]:
    return {code: f"\\u{code:04x}" for each in codes for code in each}


_INVISIBLE: Final = _named(
    range(9), range(0x0B, 0x20), range(0x7F, 0xA0), range(0x200B, 0x2010), range(0x2028, 0x202F), range(0x2060, 0x2070), [0xFEFF]
)
