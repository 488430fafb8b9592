"""The gate: limits, waivers and expectations of one's own put together, and what Great Expectations says to them."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, Final

from infra.store.errors import InputError
from infra.validation.judging import Asked, answer, between, judge
from infra.validation.masking import excerpt, mask
from infra.validation.own import Own, load, named_modules
from infra.validation.report import Judgement, NotJudged, Report
from infra.validation.suites import MEASURES, Kind, bound_of, measure, said
from infra.validation.waivers import Waiver, counting

_EXAMPLES: Final = 3
_LINE: Final = 80
_ABOUT_TEXT: Final = ("letter_share", "compressed_share", "control_share", "main_language_share")
_LEAST_LETTERS: Final = 0.4
_ON_SAMPLE: Final = {"lettered_share": ("letter_share", "min_letter_share")}
"""Numbers of the sample: the share of its rows in which a column reaches what another expectation asks of it."""


@dataclass(frozen=True)
class Expected:
    """What is expected: limits by name, waivers, and the expectations of one's own."""

    limits: Mapping[str, float]
    waivers: Sequence[Waiver] = ()
    own: Sequence[Own] = field(default_factory=list)

    @classmethod
    def of(cls, section: Mapping[str, Any], kind: Kind) -> "Expected":
        """From a recipe's section as a mapping: `min_X` and `max_X` with numbers; `limits`, more of them, each "name=number";
        `waivers`, mappings; `modules`, names of Python modules. Raises InputError for what is none of these.
        """
        limits = {name: value for name, value in section.items() if name not in ("limits", "waivers", "modules")}
        limits |= {name.strip(): value for name, _, value in (str(each).partition("=") for each in section.get("limits", ()))}
        waivers = [each if isinstance(each, Waiver) else Waiver.of(each) for each in section.get("waivers", ())]
        return cls(
            {name: _number(name, value) for name, value in limits.items()},
            waivers,
            load(named_modules(section.get("modules", ())), kind),
        )

    def own_by_name(self) -> dict[str, Own]:
        """Those of the user's own, with the recipe's limit where it gives one."""
        return {
            each.name: replace(each, limit=self.limits[each.name]) if each.function and each.name in self.limits else each
            for each in self.own
        }


def validate(
    profile: Mapping[str, float],
    sample: Mapping[str, Sequence[Any]],
    expectations: Mapping[str, Any] | Expected,
    *,
    kind: Kind = "corpus",
    today: date | None = None,
) -> Report:
    """Judges; a failed expectation is a judgement that did not pass, never an error.

    profile: data in numbers. `min_X` and `max_X` among the expectations bound its number X, inclusive. sample: columns of equal
    length with at least `id`, `preview` and `kept_for` (empty for rows drawn at random, else the name of the number that the
    row is an example of), and those that expectations on single rows look at. Raises InputError for a name that bounds nothing,
    or a waiver of nothing; SlipwayError when Great Expectations could not judge: that is no pass.
    """
    expected = expectations if isinstance(expectations, Expected) else Expected.of(expectations, kind)
    own = expected.own_by_name()
    limits = {name: limit for name, limit in expected.limits.items() if name not in own}
    numbers, drawn = dict(profile), _kept_for(sample, "")
    missing = {name: why for name in limits if (why := _missing(name, numbers))}
    asked = {name: _asked(name, limits, numbers) for name in limits if name not in missing}
    pointed: dict[str, list[dict[str, Any]]] = {}
    for name, each in own.items():
        if each.function:
            numbers[bound_of(name)[1]], places = answer(each, profile, drawn)
            pointed[name] = [drawn[place] for place in places]
        asked[name] = Asked("profile", between(bound_of(name)[1], name, each.limit or 0.0)) if each.function else _as_given(each)
    valid, expired = counting(expected.waivers, [*limits, *own], today or datetime.now(UTC).date())
    rows = []
    for name, result in judge({"profile": [numbers], "sample": drawn}, asked).items():
        side, number = bound_of(name)
        on_sample = asked[name].table == "sample"
        examples = pointed.get(name) or ([drawn[place] for place in result.places] if on_sample else _kept_for(sample, number))
        limit = own[name].limit if name in own else limits[name]
        about = own.get(name) or measure(number)
        rows.append(
            Judgement(
                name=name,
                expectation=about.words,
                observed=result.share_good if on_sample or limit is None else numbers[number],
                limit="holds" if limit is None else f"{'at least' if side == 'min' else 'at most'} {said(limit)}",
                success=result.success,
                examples=[] if result.success else [_shown(row) for row in (examples or _any(number, drawn))[:_EXAMPLES]],
                suite=about.suite,
                severity=about.severity,
                bound=limit,
                waiver=None if result.success else valid.get(name),
            )
        )
    return Report(rows, list(missing.values()), expired)


def _number(name: str, value: Any) -> float:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        raise InputError(f"{value!r} is no number", where=f"expectation {name}", mend="Write min_X=0.5 or max_X=0.5.") from None


def _asked(name: str, limits: Mapping[str, float], numbers: Mapping[str, float]) -> Asked:
    number = bound_of(name)[1]
    if number in numbers:
        return Asked("profile", between(number, name, limits[name]))
    column, least = _ON_SAMPLE[number]
    return Asked("sample", between(column, least, limits.get(least, _LEAST_LETTERS), mostly=limits[name]))


def _as_given(each: Own) -> Asked:
    assert each.expectation
    return Asked(each.table, each.expectation)


def _any(number: str, drawn: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where nothing was kept for a number, any rows show what the text is like; they do not show what was left out, or moved."""
    about_text = not number.endswith(("_share", "_drift", "_recall", "_files")) or number in _ABOUT_TEXT
    return drawn if about_text else []


def _shown(row: Mapping[str, Any]) -> str:
    """A row in a line: its id, and its text as far as it shows something and is nobody's own."""
    head, preview = str(row.get("head") or ""), str(row["preview"])
    return f"{row['id']}: {excerpt(head, _LINE) if head else mask(preview, cut_off=len(preview) >= _LINE)}"


def _missing(name: str, numbers: Mapping[str, float]) -> NotJudged | None:
    """Why there is nothing to judge. Raises InputError where the name bounds nothing, or its number should be there."""
    side, number = bound_of(name)
    if side and (number in numbers or number in _ON_SAMPLE):
        return None
    known = MEASURES.get(number)
    if side and known and known.optional:
        return NotJudged(name, known.words, known.suite, known.optional)
    near = difflib.get_close_matches(number, numbers, 1)
    what = f"no number of the profile is bounded by it{f'; the nearest is {near[0]}' if near else ''}"
    raise InputError(what, where=f"expectation {name}", mend=f"The numbers are {', '.join(sorted(numbers))}.")


def _kept_for(sample: Mapping[str, Sequence[Any]], name: str) -> list[dict[str, Any]]:
    """The rows of the sample that were kept for something; drawn at random, for an empty name."""
    columns = list(sample)
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*sample.values(), strict=True)]
    return [row for row in rows if row["kept_for"] == name]
