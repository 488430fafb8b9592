"""What a run measured, a row a step. It travels in the checkpoint: a resumed run ends with the rows of an undisturbed one."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from infra.store.manifest import Thing
from llm.events import StepDone, Validated

FILE: Final = "history.parquet"  # in a checkpoint
_ROLLBACKS: Final = b"slipway.rollbacks"  # among the file's metadata
STEPS: Final = pa.schema(
    [
        ("step", pa.int64()),
        ("loss", pa.float64()),
        ("tokens", pa.int64()),
        ("learning_rate", pa.float64()),
        ("gradient_norm", pa.float64()),
        ("tokens_per_second", pa.float64()),
        ("data_wait_share", pa.float64()),
        ("skipped", pa.bool_()),
        ("mfu", pa.float64()),
        ("memory_bytes", pa.int64()),
        ("validation_loss", pa.float64()),
        ("validation_bits_per_byte", pa.float64()),
        ("validation_accuracy", pa.float64()),
    ]
)


@dataclass
class History:
    """Rows by step, from 1. The validation columns are null but where the run looked, and it measures one of them alone.

    A step that was skipped has a row too; its loss and gradient norm are null where they are not finite. rollbacks: each time the
    training went back, to which `step`, and which batches it left out: those of its steps `first` to `last` as it counted then.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    rollbacks: list[dict[str, Any]] = field(default_factory=list)

    def add(self, done: StepDone, *, skipped: bool = False) -> None:
        self.rows.append(
            {
                "step": done.step,
                "loss": done.loss if math.isfinite(done.loss) else None,
                "tokens": done.tokens,
                "learning_rate": done.learning_rate,
                "gradient_norm": done.gradient_norm if math.isfinite(done.gradient_norm) else None,
                "tokens_per_second": done.tokens_per_second,
                "data_wait_share": done.data_wait_share,
                "skipped": skipped,
                "mfu": done.mfu,
                "memory_bytes": done.memory_bytes,
                "validation_loss": None,
                "validation_bits_per_byte": None,
                "validation_accuracy": None,
            }
        )

    def add_validation(self, seen: Validated) -> None:
        self.rows[-1] |= {"validation_loss": seen.loss, f"validation_{seen.measure}": seen.value}

    @property
    def last_validation(self) -> dict[str, Any]:
        return next(row for row in reversed(self.rows) if row["validation_loss"] is not None)

    def tokens(self) -> int:
        return sum(row["tokens"] for row in self.rows)

    def tokens_per_second(self) -> float:
        """Over the whole run but its first two steps, which warm up."""
        rows = self.rows[2:] or self.rows
        return float(sum(row["tokens"] for row in rows) / sum(row["tokens"] / row["tokens_per_second"] for row in rows))

    def mfu(self) -> float | None:
        """Over the whole run but its first two steps, by time; None where it is not known of all of them."""
        rows = self.rows[2:] or self.rows
        known = [(row.get("mfu"), row["tokens"] / row["tokens_per_second"]) for row in rows]
        total = sum(seconds for _, seconds in known)
        shares = [share * seconds / total for share, seconds in known if share is not None]
        return float(sum(shares)) if len(shares) == len(known) else None

    def data_wait_share(self) -> float:
        """Share of that time in which the step waited for its batch. A checkpoint of an older version does not say: 0."""
        rows = self.rows[2:] or self.rows
        seconds = [row["tokens"] / row["tokens_per_second"] for row in rows]
        waited = sum((row.get("data_wait_share") or 0.0) * each for row, each in zip(rows, seconds, strict=True))
        return float(waited / sum(seconds))

    def copy(self) -> "History":
        """What it is now."""
        return History(list(self.rows), list(self.rollbacks))

    def write(self, path: Path) -> None:
        schema = STEPS.with_metadata({_ROLLBACKS: json.dumps(self.rollbacks)})
        pq.write_table(pa.Table.from_pylist(self.rows, schema=schema), path)

    @classmethod
    def read(cls, path: Path) -> "History":
        table = pq.read_table(path)
        return cls(table.to_pylist(), json.loads((table.schema.metadata or {}).get(_ROLLBACKS, b"[]")))

    @classmethod
    def of(cls, checkpoint: Thing) -> "History":
        """The rows up to a checkpoint."""
        return cls.read(checkpoint.path(FILE))

    def series(self, column: str) -> Iterable[tuple[int, float]]:
        return ((row["step"], row[column]) for row in self.rows if row[column] is not None)
