"""What earlier attempts of a stage did, from their spools on this machine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.restarts import Made
from infra.tracking.spool import records
from llm.events import Restarted, Sampled


@dataclass
class Attempt:
    """One run: when it was opened and last wrote, in seconds since the epoch, and what it did in between."""

    run: str
    began: float
    ended: float
    made: list[Made] = field(default_factory=list)
    restarts: list[Restarted] = field(default_factory=list)
    samples: list[Sampled] = field(default_factory=list)

    def take(self, record: dict[str, Any]) -> None:
        self.ended = record["time"]
        if "made" in record:
            self.made.append(Made(record["time"], record["step"], **record["made"]))
        elif record.get("what") == "restarted":
            self.restarts.append(Restarted(**record["restart"]))
        elif record.get("what") == "sampled":
            self.samples.append(Sampled(**record["sample"]))


def attempts(spools: Path, runs: Sequence[str]) -> list[Attempt]:
    """Those of the runs, in order, of which this machine has the spool; those of another machine are not known here."""
    return list(_read(spools, runs))


def _read(spools: Path, runs: Sequence[str]) -> Iterator[Attempt]:
    for run in runs:
        attempt = None
        try:
            for record, _ in records(spools / f"{run}.jsonl"):
                if attempt is None:
                    attempt = Attempt(run, record["time"], record["time"])
                attempt.take(record)
        except (OSError, KeyError, TypeError):  # not here, or of another version: what was read until then counts
            pass
        if attempt is not None:
            yield attempt
