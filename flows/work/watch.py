"""What is seen of a training while it runs, for its record: restarts, skipped steps, samples, what it took."""

from dataclasses import asdict
from typing import Any

import torch

from flows.attempts import attempts
from flows.pipeline.stage import Job
from flows.restarts import Restarts, standing
from flows.spending import Meter, spent, worker_seconds
from llm.events import Event, Sampled, Spent
from llm.training.gpus import of_device
from llm.training.history import History
from llm.training.numerics import Numerics


class Watch:
    """An observer that hands everything on to the job's own, with the restarts; `end` says what the training took."""

    def __init__(self, job: Job, numerics: Numerics, workers: int) -> None:
        self._job, self._numerics, self._workers = job, numerics, workers
        self._earlier = attempts(job.settings.spool, job.earlier_runs)
        self._restarts = Restarts(job.observe, standing(made for attempt in self._earlier for made in attempt.made))
        self._meter = Meter(workers)
        self._samples = {sample.step: sample for attempt in self._earlier for sample in attempt.samples}
        self._spent: Spent | None = None

    def __call__(self, event: Event) -> None:
        self._meter(event)
        if isinstance(event, Sampled):
            self._samples[event.step] = event
        self._restarts(event)

    def end(self) -> None:
        """Tells what it took, also where it failed."""
        self._restarts.end()
        failed = [worker_seconds(attempt, self._workers) for attempt in self._earlier]
        cuda = self._numerics.device == "cuda" and torch.cuda.is_available()  # Ray's driver may have no GPU itself
        gpu = of_device(torch.cuda.get_device_name()) if cuda else None
        self._spent = spent(self._numerics.device, self._meter.worker_seconds(), failed, gpu)
        self._job.observe(self._spent)

    @property
    def samples(self) -> list[Sampled]:
        """Those of earlier attempts among them, in the order of their steps."""
        return [self._samples[step] for step in sorted(self._samples)]

    def document(self, history: History) -> dict[str, Any]:
        """For the stage's record and the card, once it has ended. history: of the whole run, skipped steps and rollbacks too."""
        assert self._spent is not None, "the training has ended"
        before = [restart for attempt in self._earlier for restart in attempt.restarts]
        return {
            "restarts": [asdict(restart) for restart in (*before, *self._restarts.told)],
            "skipped_steps": [row["step"] for row in history.rows if row.get("skipped")],
            "rollbacks": history.rollbacks,
            "spent": asdict(self._spent),
        }
