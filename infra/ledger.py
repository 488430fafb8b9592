"""The ledger: who decided what, when and why. Append-only, hash-chained, one object an entry, its head anchored outside as well."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, Self

from infra.anchors import Anchor, Head, HomeAnchor
from infra.settings import Settings
from infra.store import open_store
from infra.store.errors import DamagedError, RefusedError, SlipwayError
from infra.store.fingerprint import fingerprint
from infra.store.protocol import Store

FORMAT: Final = 1
FOLDER: Final = "ledger"
_NAME = re.compile(rf"{FOLDER}/(\d{{8}})\.json")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One decision. time: UTC in ISO 8601. previous: the hash of the entry before, empty in the first. hash: over all the rest."""

    number: int
    time: str
    action: str
    subject: Mapping[str, str]
    who: str
    why: str
    facts: Mapping[str, Any]
    previous: str
    hash: str = ""

    def document(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    def digest(self) -> str:
        """What `hash` has to be: sha256 of the canonical encoding of all other fields, the format's number included."""
        document = self.document()
        del document["hash"]
        return fingerprint(document)


@dataclass(frozen=True)
class Finding:
    """What is wrong with one entry, in one sentence."""

    entry: int
    kind: Literal["changed", "removed", "reordered", "truncated", "unreadable", "foreign"]
    what: str


class LedgerError(RefusedError):
    """The ledger is not as it was written: nothing is decided on it until somebody has looked."""

    code = "ledger-broken"


class Ledger:
    """The entries of one store. Safe for many writers; making a Ledger touches nothing.

    anchors: places outside the store that keep the head, so that a tail cut off is noticed.
    """

    def __init__(self, store: Store, anchors: Sequence[Anchor] = ()) -> None:
        self._store = store
        self._anchors = tuple(anchors)

    @classmethod
    def of(cls, settings: Settings, store: Store | None = None) -> Self:
        """The ledger of the store in use, anchored in the home."""
        store = store or open_store(settings.store)
        return cls(store, (HomeAnchor(settings.home, store.url),))

    def append(
        self, action: str, *, subject: Mapping[str, str], who: str, why: str, facts: Mapping[str, Any] | None = None
    ) -> Entry:
        """A new last entry; when another writer takes its number, the next one, chained to the other's.

        Never refuses because of an older entry's damage, for a rollback must not wait for an audit. Raises StoreError where
        nothing was written.
        """
        while True:
            last, previous = self._last()
            entry = Entry(
                number=last + 1,
                time=datetime.now(UTC).isoformat(timespec="milliseconds"),
                action=action,
                subject=dict(subject),
                who=who,
                why=why,
                facts=dict(facts or {}),
                previous=previous,
            )
            entry = replace(entry, hash=entry.digest())
            text = json.dumps(entry.document(), indent=1, sort_keys=True, ensure_ascii=False)
            if self._store.write_if_absent(_name(entry.number), text.encode()):
                break
        try:
            self.anchor()
        except (SlipwayError, OSError) as error:  # the entry stands: whoever appends next anchors it with its own
            _log.warning("entry %d of the ledger is written, but not anchored: %s", entry.number, error)
        return entry

    def entries(self) -> list[Entry]:
        """Every entry, in order. Raises DamagedError naming an entry that cannot be read; `verify` says what else is wrong."""
        return [self._read(name) for name in self._names()]

    def anchor(self, *more: Anchor) -> None:
        """Moves the anchors on to the head. One that does not fit the chain stays as it is: it is evidence."""
        anchors = (*self._anchors, *more)
        names = self._names() if anchors else []
        if not names:
            return
        head = _head(self._read(names[-1]))
        for anchor in anchors:
            with anchor.alone():
                old = anchor.read()
                if old is None or (old.number < head.number and self._fits(old)):
                    anchor.write(head)

    def verify(self, *more: Anchor) -> list[Finding]:
        """All that is wrong, by entry; nothing when the chain is whole and fits every anchor, the ledger's own and `more`."""
        findings: list[Finding] = []
        chain: dict[int, Entry] = {}
        numbers: list[int] = []
        for stored in self._store.list(FOLDER):
            match = _NAME.fullmatch(stored.name)
            if match is None:
                findings.append(Finding(0, "foreign", f"{self._store.uri(stored.name)} is no entry of the ledger."))
                continue
            numbers.append(number := int(match[1]))
            found = self._look(number, stored.name)
            if isinstance(found, Finding):
                findings.append(found)
            else:
                chain[number] = found
        findings += _gaps(numbers)
        findings += _breaks(chain)
        for anchor in (*self._anchors, *more):
            if (head := anchor.read()) is not None:
                findings += _unanchored(head, anchor.name, chain, numbers)
        return sorted(findings, key=lambda finding: finding.entry)

    def check(self, *more: Anchor) -> None:
        """Raises LedgerError with the first finding."""
        if findings := self.verify(*more):
            rest = f" ({len(findings) - 1} more)" if len(findings) > 1 else ""
            raise LedgerError(
                f"{findings[0].what[0].lower()}{findings[0].what[1:-1]}{rest}",
                where=self._store.uri(FOLDER),
                mend="`slipway ledger verify` lists all of it. Put the entries back from a copy of the store, then decide.",
            )

    def _look(self, number: int, name: str) -> Entry | Finding:
        """The entry under that name when it is as it was written."""
        try:
            entry = self._read(name)
        except DamagedError:
            return Finding(number, "unreadable", f"Entry {number} was changed: it cannot be read as an entry any more.")
        if entry.digest() != entry.hash:
            return Finding(number, "changed", f"Entry {number} was changed: it does not have the hash it was written with.")
        if entry.number != number:
            return Finding(number, "reordered", f"Entries were reordered: in place of entry {number} lies entry {entry.number}.")
        return entry

    def _fits(self, head: Head) -> bool:
        found = self._look(head.number, _name(head.number)) if self._store.exists(_name(head.number)) else None
        return isinstance(found, Entry) and found.hash == head.hash

    def _names(self) -> list[str]:
        return [stored.name for stored in self._store.list(FOLDER) if _NAME.fullmatch(stored.name)]

    def _last(self) -> tuple[int, str]:
        """Number and hash of the last entry; of one that cannot be read, the hash of its bytes."""
        if not (names := self._names()):
            return 0, ""
        number = int(names[-1][-13:-5])
        try:
            return number, self._read(names[-1]).hash
        except DamagedError:
            return number, hashlib.sha256(self._store.read(names[-1])).hexdigest()

    def _read(self, name: str) -> Entry:
        try:
            fields = json.loads(self._store.read(name))
            if fields.pop("format") != FORMAT:
                raise ValueError
            entry = Entry(**fields)
            entry.digest()  # raises where a field holds what no entry of ours can
            return entry
        except (ValueError, KeyError, TypeError, AttributeError, SlipwayError) as error:
            if isinstance(error, SlipwayError) and error.code != "no-identity":
                raise
            raise DamagedError(
                "damaged: not an entry of the ledger in this format",
                where=self._store.uri(name),
                mend="Put it back from a copy of the store; `slipway ledger verify` says what else is wrong.",
            ) from None


def _gaps(numbers: Sequence[int]) -> list[Finding]:
    return [
        Finding(missing, "removed", f"Entry {missing} was removed: entry {number} comes after it and is there.")
        for before, number in zip([0, *numbers], numbers, strict=False)
        for missing in range(before + 1, number)
    ]


def _breaks(chain: Mapping[int, Entry]) -> list[Finding]:
    """Entries that are whole in themselves, but not the ones that the next was written after."""
    found = []
    for number, entry in chain.items():
        if number == 1 and entry.previous:
            found.append(Finding(1, "changed", "Entry 1 was replaced: it names an entry before it, and the first has none."))
        before = chain.get(number - 1)
        if before is not None and entry.previous != before.hash:
            what = f"Entry {number - 1} was replaced, hash and all: entry {number} was written after another one."
            found.append(Finding(number - 1, "changed", what))
    return found


def _unanchored(head: Head, anchor: str, chain: Mapping[int, Entry], numbers: Sequence[int]) -> list[Finding]:
    last = max(numbers, default=0)
    if head.number > last:
        cut = f"Entry {head.number} was" if head.number == last + 1 else f"Entries {last + 1} to {head.number} were"
        return [Finding(last + 1, "truncated", f"{cut} cut off the end: {anchor} keeps entry {head.number} as a head.")]
    entry = chain.get(head.number)
    if entry is not None and entry.hash != head.hash:
        what = f"Entry {head.number} was replaced, hash and all: {anchor} keeps another one under this number."
        return [Finding(head.number, "changed", what)]
    return []


def _head(entry: Entry) -> Head:
    return Head(entry.number, entry.hash)


def _name(number: int) -> str:
    return f"{FOLDER}/{number:08d}.json"
