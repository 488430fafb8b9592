"""The part of the model card about how the training went: what it took, each restart, steps that were left out."""

from collections.abc import Mapping
from typing import Any, Final

from flows.restarts import restart_line, rollback_line
from flows.spending import spent_line
from llm.events import Restarted, RolledBack, Spent

_NAMED: Final = 5  # skipped steps; of more, the card gives the count


def course(lineage: Mapping[str, Any]) -> list[str]:
    """What the training took, and each time that it had to go on; nothing for a model from elsewhere."""
    took = lineage.get("spent")
    if not took:
        return []
    skipped = lineage["skipped_steps"]
    restarts = [restart_line(Restarted(**each)) for each in lineage["restarts"]]
    back = [rollback_line(RolledBack(**each)) for each in lineage["rollbacks"]]
    steps = ", ".join(f"{step:,}" for step in skipped[:_NAMED]) + (" and more" if len(skipped) > _NAMED else "")
    return [
        "## How the training went",
        f"- {spent_line(Spent(**took))}",
        *(f"- {line}" for line in (*restarts, *back)),
        *([f"- {len(skipped):,} steps skipped: {steps}"] if skipped else []),
        "",
    ]
