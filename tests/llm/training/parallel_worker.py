"""One of several processes that train together over gloo, without Ray: python -m tests.llm.training.parallel_worker FILE."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn

from infra.store.errors import InputError
from llm.models.build import new_model
from llm.models.causal import CausalModel
from llm.models.config import CausalConfig
from llm.models.lora import add_adapters
from llm.models.lora_config import LoraConfig
from llm.models.presets import PRESETS
from llm.training import parallel
from llm.training.apply import apply
from llm.training.checkpoints import learnt
from llm.training.config import TrainingConfig
from llm.training.numerics import Numerics
from llm.training.optimizers import Optimizer, make_optimizer
from llm.training.pieces import local
from llm.training.step import NextToken, train_step
from llm.training.topology import Topology

FP32 = Numerics.decide("fp32")
MODELS: dict[str, CausalConfig] = {
    "llama": PRESETS["llama-tiny"],
    "qwen": replace(PRESETS["llama-tiny"], qk_norm=True, family="", tied=False, head_width=32),  # type: ignore[arg-type]
    "gpt2": PRESETS["gpt2-tiny"],
    "adapters": PRESETS["llama-tiny"],
    "odd": replace(PRESETS["llama-tiny"], width=96, n_heads=6, n_kv_heads=3, hidden=99),  # type: ignore[arg-type]
}


def batches(steps: int) -> Tensor:
    """The same in every process, of few words, so that there is something to learn: (steps, 8 rows, 33 tokens)."""
    return torch.randint(16, (steps, 8, 33), generator=torch.Generator().manual_seed(0))


class Training:
    """A model, its optimizer and what a step found, as the loop has them."""

    def __init__(self, topology: Topology, model: str, optimizer: str, training: TrainingConfig) -> None:
        self.topology = parallel.arrange(topology, training, "cpu")
        self.model: CausalModel = new_model(MODELS[model]).train()
        if model == "adapters":
            add_adapters(self.model, LoraConfig(rank=4))
            self.model.embedding.requires_grad_()
        apply(self.model, FP32, training.activation_checkpointing, self.topology)
        self.optimizer: Optimizer = make_optimizer(optimizer, self.model, weight_decay=0.1)  # type: ignore[arg-type]
        self.found: list[list[float]] = []

    def state(self) -> dict[str, Tensor]:
        return learnt(self.model) | {f"optimizer.{name}": value for name, value in self.optimizer.state().items()}

    def steps(self, rows: Tensor, first: int, last: int) -> None:
        share = rows.shape[1] // self.topology.shares
        for step in range(first, last):
            own = rows[step, self.topology.share * share : (self.topology.share + 1) * share]
            result = train_step(
                self.model,
                NextToken(),
                own.chunk(2),
                self.optimizer,
                learning_rate=1e-2,
                gradient_clip=0.5,
                numerics=FP32,
                topology=self.topology,
            )
            self.found.append([float(result.loss), float(result.gradient_norm), float(result.skipped)])

    def look(self, rows: Tensor) -> float:
        """The loss of one batch, and nothing learnt; every worker takes part."""
        self.model.eval()
        with torch.no_grad():
            loss = float(NextToken().loss(self.model, rows[0]))
        self.model.train()
        return loss


def run(task: dict[str, Any], topology: Topology) -> dict[str, Any]:
    """Trains as the task says.

    found: loss, norm and whether skipped of each step; looks: losses of a batch in the middle, at the end, and under the copy that
    texts are made with; held: the share of the state's numbers that this worker has; kept: what `spoilt` says.
    """
    training = Training(topology, task["model"], task["optimizer"], TrainingConfig(steps=6, **task["training"]))
    state, rows, answer = training.state(), batches(6), dict[str, Any]()
    alone = topology.world == 1
    first = task.get("first", 0)
    if "load" in task:
        dcp.load(state, checkpoint_id=task["load"], no_dist=alone)
    middle = task.get("save_after", 3)
    training.steps(rows, first, max(first, middle))
    if "save" in task:
        dcp.save(state, checkpoint_id=task["save"], no_dist=alone)
    looks = [training.look(rows)]
    if task.get("spoil"):
        answer["kept"] = spoilt(training, rows)
    training.steps(rows, max(first, middle), 6)
    looks.append(training.look(rows))
    copy: Any = parallel.whole(training.model, training.topology)
    if copy is not None:
        looks.append(float(NextToken().loss(copy.eval(), rows[0]).detach()))
    held = sum(local(value).numel() for value in state.values()) / sum(value.numel() for value in state.values())
    return answer | {"found": training.found, "looks": looks, "names": sorted(state), "held": held}


def told(task: dict[str, Any], topology: Topology) -> dict[str, Any]:
    """What `run` answers, or the sentence with which it refuses."""
    try:
        return run(task, topology)
    except InputError as error:
        return {"refused": str(error)}


def spoilt(training: Training, rows: Tensor) -> bool:
    """Whether a step with a gradient that only the last worker spoils leaves all as it was, and says so; taken from `found`."""
    before = {name: value.clone() for name, value in training.state().items()}

    def spoil(module: nn.Module, inputs: Any, outputs: Any) -> Any:
        return (inputs[0] * float("inf"), *inputs[1:])

    last = training.topology.rank == training.topology.world - 1
    handle = training.model.norm.register_full_backward_hook(spoil) if last else None
    training.steps(rows, 0, 1)
    if handle:
        handle.remove()
    skipped = training.found.pop()[2]
    after = training.state()
    same = all(torch.equal(local(after[name]), local(value)) for name, value in before.items())
    return same and skipped == 1.0


def main(file: Path) -> None:
    """Reads {rank, world, store, tasks} and writes a list of answers beside it."""
    job = json.loads(file.read_text())
    torch.set_num_threads(1)
    topology = Topology(job["rank"], job["world"])
    if topology.world > 1:
        dist.init_process_group("gloo", init_method=f"file://{job['store']}", rank=topology.rank, world_size=topology.world)
    answers = [told(task, topology) for task in job["tasks"]]
    file.with_suffix(".out").write_text(json.dumps(answers))
    if topology.world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
