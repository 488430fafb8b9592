"""Waivers: a named person lets data pass that fails an expectation, for a reason, until a day."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any, Final, Self

from infra.store.errors import InputError

_MEND: Final = "A waiver is {expectation: max_duplicate_share, who: ann, reason: why it is right, expires: 2027-01-31}."


@dataclass(frozen=True)
class Waiver:
    """Who lets which expectation fail, why, and until which day (it counts on that day, and no longer)."""

    expectation: str
    who: str
    reason: str
    expires: date

    @classmethod
    def of(cls, said: Mapping[str, Any], where: str = "waiver") -> Self:
        """From what a recipe says. Raises InputError for whatever is missing or is no date."""
        names = [each.name for each in fields(cls)]
        if missing := [name for name in names if not str(said.get(name) or "").strip()]:
            raise InputError(f"says no {', no '.join(missing)}", where=where, mend=_MEND)
        if unknown := sorted(set(said) - set(names)):
            raise InputError(f"a waiver has no {', no '.join(unknown)}", where=where, mend=_MEND)
        expires = said["expires"]
        try:
            day = expires if isinstance(expires, date) else date.fromisoformat(str(expires).strip())
        except ValueError:
            raise InputError(f"expires {expires!r} is no date (year-month-day)", where=where, mend=_MEND) from None
        expectation, who, reason = (str(said[name]).strip() for name in names[:-1])
        return cls(expectation, who, reason, day)

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "expires": self.expires.isoformat()}


def counting(waivers: Iterable[Waiver], known: Collection[str], today: date) -> tuple[dict[str, Waiver], list[Waiver]]:
    """Those that count, by expectation, and those that have expired. Raises InputError for one that nothing is expected by."""
    valid: dict[str, Waiver] = {}
    expired: list[Waiver] = []
    for waiver in waivers:
        if waiver.expectation not in known:
            near = difflib.get_close_matches(waiver.expectation, known, 1, 0.4)
            hint = f"; the nearest is {near[0]}" if near else ""
            raise InputError(f"no expectation of this name{hint}", where=f"waiver {waiver.expectation}", mend=_MEND)
        if waiver.expires < today:
            expired.append(waiver)
        elif waiver.expectation not in valid or waiver.expires > valid[waiver.expectation].expires:
            valid[waiver.expectation] = waiver
    return valid, expired
