"""Finetuning: a base model, the examples of a task, the same loop, step and checkpoints as pretraining."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from infra.store import open_store
from infra.store.manifest import Thing, load
from llm.data.examples import ExampleOrder
from llm.events import Noted, Observer
from llm.training import classify, instruct
from llm.training.config import FinetuneConfig
from llm.training.history import History
from llm.training.loop import train
from llm.training.numerics import Numerics
from llm.training.task import Task
from llm.training.topology import ALONE, Topology
from llm.training.work import Work

TaskName = Literal["classify", "instruct"]
_TASKS: Final[Mapping[TaskName, Callable[[Thing, Thing, FinetuneConfig], Task]]] = {
    "classify": classify.prepare,
    "instruct": instruct.prepare,
}
"""(base package, examples, configuration) -> what the task brings to the loop."""


@dataclass(frozen=True)
class FinetuneJob:
    """All that a worker has to know, as plain data. `base` and `examples` are names in the store."""

    store_url: str
    base: str
    examples: str
    run: str
    earlier_runs: tuple[str, ...]
    scratch: Path
    task: TaskName
    training: FinetuneConfig
    steps: int
    numerics: Numerics

    @property
    def stage(self) -> str:
        return f"finetune-{self.task}"


def finetune(job: FinetuneJob, observe: Observer, topology: Topology = ALONE) -> History:
    """Trains to the end, from the newest checkpoint of this run or an earlier attempt. Leaves the model in the last checkpoint."""
    store = open_store(job.store_url)
    job.numerics.apply(topology.world)
    base, examples = load(store, job.base), load(store, job.examples)
    task = _TASKS[job.task](base, examples, job.training)
    device, rank = torch.device(job.numerics.device), job.training.lora.rank
    parameters = list(task.model.parameters())
    size, learning = sum(map(Tensor.numel, parameters)), sum(each.numel() for each in parameters if each.requires_grad)
    if rank and topology.leads:
        observe(Noted(f"adapters of rank {rank}: {learning:,} of {size:,} parameters learn"))
    task.model.to(device).train()
    looks = [batch.to(device) for batch in task.looks]

    def validate() -> tuple[float, float]:
        return task.validate(looks, job.numerics)

    def sample(step: int, model: Any) -> None:
        if sampled := task.sample(step, model):
            observe(sampled)

    work = Work(
        model=task.model,
        objective=task.objective,
        order=ExampleOrder(task.lengths, job.training.batch_size, job.training.seed, task.among),
        read=task.read,
        measure=task.measure,
        validate=validate,
        sample=sample,
        facts={
            "dataset": examples.version,
            "base": base.version,
            "tokenizer": base.files["tokenizer.json"]["sha256"],
            "parameters": size,
        },
    )
    return train(work, job, topology=topology, observe=observe)
