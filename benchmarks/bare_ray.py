"""The training loop on Ray Train with no flow around it: `python -m benchmarks.bare_ray JOB.json [--plain]`; marks as `bare_loop`.

`--plain` starts the workers as Ray's own guide does, on a Ray of its own defaults; without, as the flows start them.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import ray.train
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from benchmarks.bare_loop import Marks, job_of
from infra.cluster import connect
from llm.events import Event, StepDone
from llm.training.distributed import train_on_workers
from llm.training.pretrain import PretrainJob, pretrain
from llm.training.topology import Topology
from llm.training.worker_counts import most


def main() -> None:
    marks = Marks()
    marks.mark("imports")
    document = json.loads(Path(sys.argv[1]).read_text())
    job, workers = job_of(document), most(document["training"]["workers"])
    if "--plain" in sys.argv:
        _plain(job, workers, marks)
    else:
        with connect(None, cpus=workers, home=job.scratch / "home"):
            marks.mark("Ray started")
            train_on_workers(pretrain, job, workers, marks, embedded=True)
            marks.mark("workers done")
    marks.mark("end")
    print(json.dumps(marks.seen))


def _plain(job: PretrainJob, workers: int, marks: Marks) -> None:
    times = job.scratch / "times"
    times.touch()
    run = RunConfig(name="bare", storage_path=str(job.scratch / "ray"))
    trainer = TorchTrainer(partial(_loop, job, times), scaling_config=ScalingConfig(num_workers=workers), run_config=run)
    trainer.fit()
    seen = [float(line) for line in times.read_text().splitlines()]
    marks.seen |= {"first step": seen[0], "last step": seen[-1]}


def _loop(job: PretrainJob, times: Path, _: Any = None) -> None:
    """What each worker runs; the first one notes when its steps were over."""
    context = ray.train.get_context()

    def observe(event: Event) -> None:
        if isinstance(event, StepDone):
            with times.open("a") as file:
                print(time.time(), file=file)

    pretrain(job, observe, Topology(context.get_world_rank(), context.get_world_size()))


if __name__ == "__main__":
    main()
