"""The training loop with nothing around it: `python -m benchmarks.bare_loop JOB.json`; prints when what was over, as JSON.

With `workers` in the job's training, on as many Ray workers, started as the flows start them.
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm.events import Event, StepDone
from llm.models.config import LlamaConfig
from llm.training.config import TrainingConfig
from llm.training.numerics import Numerics
from llm.training.pretrain import PretrainJob, pretrain

RUN = "pretrain-bare-1"


class Marks:
    """When each part was over: seconds since the epoch. An observer that notes the first step and, each time anew, the last."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def mark(self, part: str) -> None:
        self.seen[part] = time.time()

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepDone):
            self.seen.setdefault("first step", time.time())
            self.mark("last step")


def job_of(document: Mapping[str, Any]) -> PretrainJob:
    """As the work of `pretrain` makes it of a recipe."""
    training, model = TrainingConfig(**document["training"]), LlamaConfig(**document["model"])
    scratch = Path(document["scratch"])
    numerics = Numerics.decide(training.precision, training.optimizer)
    return PretrainJob(
        document["store"], document["tokens"], RUN, (), scratch, model, training, training.steps, numerics, prompt="The"
    )


def main() -> None:
    marks = Marks()
    marks.mark("imports")
    job = job_of(json.loads(Path(sys.argv[1]).read_text()))
    pretrain(job, marks)
    marks.mark("end")
    print(json.dumps(marks.seen))


if __name__ == "__main__":
    main()
