"""How fast this machine trains a model, by a few real steps on random tokens."""

import time
from statistics import median

import torch

from llm.models.build import new_model
from llm.models.config import CausalConfig
from llm.training.apply import apply
from llm.training.config import TrainingConfig
from llm.training.numerics import Numerics
from llm.training.optimizers import make_optimizer
from llm.training.step import NextToken, train_step


def measure_rate(model: CausalConfig, training: TrainingConfig, *, steps: int = 5) -> float:
    """Tokens per second in this process, the median of `steps` after two that warm up."""
    numerics = Numerics.decide(training.precision, training.optimizer)
    device = torch.device(numerics.device)
    net = new_model(model).to(device).train()
    apply(net, numerics, training.activation_checkpointing)
    optimizer = make_optimizer(numerics.optimizer, net, weight_decay=training.weight_decay)
    batch = torch.randint(model.vocabulary, (training.batch_size, training.sequence_length + 1), device=device)
    micro_batches = batch.split(training.micro_batch_size or training.batch_size)
    seconds = []
    for _ in range(steps + 2):
        start = time.perf_counter()
        float(train_step(net, NextToken(), micro_batches, optimizer, learning_rate=0.0, gradient_clip=1.0, numerics=numerics).loss)
        seconds.append(time.perf_counter() - start)
    return training.tokens_per_step / median(seconds[2:])
