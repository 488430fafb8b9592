"""What the ledger says of a registered model's versions, and the registry brought in line with it: the ledger is the truth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from infra.ledger import Entry
from infra.registry import CHAMPION, PREVIOUS, ModelVersion, Registry

STATUS: Final = {"approve": "approved", "reject": "rejected", "request-changes": "candidate"}  # what a decision makes of a version
_REASON_LENGTH = 500  # of a tag; the ledger keeps the whole


@dataclass(frozen=True)
class Standing:
    """The decisions on one model. Versions are told by number and package: a registry made anew may give a number again."""

    name: str
    versions: Sequence[ModelVersion]
    decisions: Mapping[int, tuple[Entry, ...]]
    champion: int | None
    previous: int | None

    @classmethod
    def of(cls, name: str, entries: Sequence[Entry], versions: Sequence[ModelVersion]) -> Self:
        subjects = {(each.uri, each.tags.get("package.version")): each.version for each in versions}
        decided = [
            (number, entry)
            for entry in entries
            if entry.action in STATUS
            and (number := subjects.get((entry.subject.get("model", ""), entry.subject.get("package")))) is not None
        ]
        by_version = {each.version: tuple(entry for number, entry in decided if number == each.version) for each in versions}
        approved = [number for number, entry in reversed(decided) if entry.action == "approve"]
        champion = approved[0] if approved else None
        standing = (n for n in approved if n != champion and by_version[n][-1].action == "approve")
        return cls(name, versions, by_version, champion, next(standing, None))

    def version(self, number: int) -> ModelVersion:
        return next(each for each in self.versions if each.version == number)

    def uri(self, number: int | None) -> str:
        return f"models:/{self.name}/{number}" if number is not None else ""

    def last(self, number: int) -> Entry | None:
        """The decision in force on a version."""
        decisions = self.decisions[number]
        return decisions[-1] if decisions else None

    def status(self, number: int) -> str:
        last = self.last(number)
        return STATUS[last.action] if last else "candidate"

    def approval(self, number: int | None) -> Entry | None:
        """The last entry that approved a version."""
        found = [entry for entry in self.decisions.get(number or 0, ()) if entry.action == "approve"]
        return found[-1] if found else None


@dataclass(frozen=True)
class Drift:
    """One thing in which the registry is not what the ledger says, and how to mend it."""

    what: str
    mend: Callable[[Registry], None]


def drifts(standing: Standing) -> Iterator[Drift]:
    """What a crash between the entry and the registry left undone, or a hand moved. Of what the ledger is silent about, nothing."""
    for version in standing.versions:
        if (last := standing.last(version.version)) is not None:
            yield from _tags(version, last)
    if standing.champion is None:
        return
    for alias, wanted in ((CHAMPION, standing.champion), (PREVIOUS, standing.previous)):
        actual = next((each.version for each in standing.versions if alias in each.aliases), None)
        if actual != wanted:
            is_at = f"is at version {actual}" if actual else "is nowhere"
            should = f"has it at version {wanted}" if wanted else "knows none"
            yield Drift(
                f"alias {alias} of models:/{standing.name} {is_at}, the ledger {should}", _move(standing.name, alias, wanted)
            )


def heal(registry: Registry, standing: Standing) -> list[str]:
    """Makes the registry say what the ledger says; returns what was mended."""
    mended = []
    for drift in drifts(standing):
        drift.mend(registry)
        mended.append(drift.what)
    return mended


def _tags(version: ModelVersion, last: Entry) -> Iterator[Drift]:
    wanted = {
        "review.status": STATUS[last.action],
        "review.by": last.who,
        "review.reason": last.why[:_REASON_LENGTH],
        "review.entry": str(last.number),
    }
    wrong = {name: value for name, value in wanted.items() if version.tags.get(name) != value}
    if wrong:
        what = f"{', '.join(wrong)} of {version.uri} not as in entry {last.number} of the ledger"
        yield Drift(what, lambda registry: registry.set_tags(version, wrong))


def _move(name: str, alias: str, version: int | None) -> Callable[[Registry], None]:
    if version is None:
        return lambda registry: registry.delete_alias(name, alias)
    return lambda registry: registry.set_alias(name, alias, version)
