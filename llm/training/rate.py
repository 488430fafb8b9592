"""How fast this machine trains a model, and in how much memory, by real steps on random tokens."""

import time
from collections.abc import Callable
from statistics import median

import torch

from llm.models.build import new_model
from llm.models.config import CausalConfig
from llm.training.apply import apply
from llm.training.config import TrainingConfig
from llm.training.footprint import bytes_of, peak_bytes
from llm.training.numerics import Numerics
from llm.training.optimizers import make_optimizer
from llm.training.step import NextToken, StepResult, train_step
from llm.training.worker_counts import fewest


def measure_rate(model: CausalConfig, training: TrainingConfig, *, steps: int = 5) -> float:
    """Tokens per second in this process, the median of `steps` after two that warm up."""
    step, _, _ = _prepared(model, training, training.batch_size)
    seconds = []
    for _ in range(steps + 2):
        start = time.perf_counter()
        float(step().loss)
        seconds.append(time.perf_counter() - start)
    return training.tokens_per_step / median(seconds[2:])


def measure_peak(model: CausalConfig, training: TrainingConfig) -> int:
    """Bytes that one step takes at its highest in one of the recipe's workers: its weights, its optimizer and all that it makes."""
    step, state, device = _prepared(model, training, training.batch_size // max(1, fewest(training.workers)))
    return bytes_of(state) + peak_bytes(step, device)


def _prepared(model: CausalConfig, training: TrainingConfig, rows: int) -> tuple[Callable[[], StepResult], object, torch.device]:
    """A step as the recipe has it, not compiled; the tensors that are there before it; and where."""
    numerics = Numerics.decide(training.precision, training.optimizer)
    device = torch.device(numerics.device)
    net = new_model(model).to(device).train()
    apply(net, numerics, training.activation_checkpointing)
    optimizer = make_optimizer(numerics.optimizer, net, weight_decay=training.weight_decay, half=numerics.precision != "fp32")
    batch = torch.randint(model.vocabulary, (rows, training.sequence_length + 1), device=device)
    micro_batches = batch.split(training.micro_batch_size or rows)

    def step() -> StepResult:
        return train_step(net, NextToken(), micro_batches, optimizer, learning_rate=0.0, gradient_clip=1.0, numerics=numerics)

    return step, [list(net.parameters()), list(net.buffers()), optimizer.state()], device
