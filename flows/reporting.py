"""What was gathered, of any kind, put before the gate, and the report on it: for a flow and for `slipway data validate` alike."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from infra.store.manifest import MANIFEST, load
from infra.store.protocol import Store
from infra.validation import Kind, Report, Subject, document_of, drift, validate, write_report
from llm.data.counted import Counted
from llm.data.profile import Profile
from llm.data.reading.found import Found
from llm.data.rows import Rejected

REJECTED: Final = "rejected.parquet"
FINDINGS: Final = "findings.parquet"


@dataclass(frozen=True)
class Gathered:
    """What every kind of data comes to before it is judged; the rejected rows and the findings lie in a folder as Parquet.

    path: as the user said it.
    """

    kind: Kind
    name: str
    path: str
    source: Found
    profile: Profile
    counted: Counted
    rejected: Iterable[Rejected]


def report_on(gathered: Gathered, expectations: Any, folder: Path, store: Store | None) -> tuple[Report, dict[str, Any]]:
    """Judges by a recipe's expectations, and writes `report.html` and `report.json` into the folder where the lists of rows are.

    store: where the version before is looked for. Returns the verdict, and the whole report as JSON data.
    """
    profile, counted = gathered.profile.document(), gathered.counted
    previous = last_profile(store, gathered.name, gathered.kind, other_than=profile) if store else None
    numbers = {**gathered.profile.numbers, **(drift(profile, previous["profile"]) if previous else {})}
    report = validate(numbers, gathered.profile.sample(), asdict(expectations), kind=gathered.kind)
    subject = Subject(
        kind=gathered.kind,
        name=gathered.name,
        version=gathered.source.version,
        summary=gathered.source.summary,
        path=gathered.path,
        rows=counted.rows,
        rejected=_most_first(counted.rejected),
        found=_most_first(counted.found),
        found_rows=counted.found_rows,
        profile=profile,
        offenders=map(asdict, gathered.rejected),
        previous=previous,
        rejected_file=REJECTED,
        findings_file=FINDINGS,
    )
    document = document_of(subject, report)
    write_report(document, folder)
    return report, document


def last_profile(store: Store, name: str, kind: Kind, *, other_than: Mapping[str, Any]) -> dict[str, Any] | None:
    """`version` and `profile` of the newest dataset of this name and kind that has one; None where there is none.

    other_than: the profile at hand. What has the same is the same data, left by a run that was killed after it was published.
    """
    same = json.loads(json.dumps(other_than))
    entries = [entry for entry in store.list(f"datasets/{name}") if entry.name.endswith(f"/{MANIFEST}")]
    for entry in sorted(entries, key=lambda entry: entry.modified, reverse=True):
        thing = load(store, entry.name.removesuffix(f"/{MANIFEST}"))
        if thing.facts.get("kind") == kind and thing.facts.get("profile") not in (None, {}, same):
            return {"version": thing.version, "profile": thing.facts["profile"]}
    return None


def _most_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
