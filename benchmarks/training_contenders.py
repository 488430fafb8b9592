"""Ours, litgpt's and transformers' model of one shape with one set of weights, each with a training step as its users write it."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from llm.models.build import new_model
from llm.models.causal import CausalModel
from llm.models.config import CausalConfig, LlamaConfig
from llm.models.hub import save_model
from llm.models.litgpt import CONFIG, WEIGHTS, write_checkpoint
from llm.models.presets import preset
from llm.training.apply import apply
from llm.training.numerics import Numerics
from llm.training.optimizers import make_optimizer
from llm.training.step import NextToken, train_step

LEARNING_RATE: Final = 1e-3
CLIP: Final = 1.0


@dataclass(frozen=True)
class Shape:
    """A preset and a batch of it."""

    preset: str
    rows: int
    length: int
    vocabulary: int

    @property
    def tokens(self) -> int:
        return self.rows * self.length

    @cached_property
    def config(self) -> CausalConfig:
        return preset(self.preset, vocabulary=self.vocabulary, context_length=self.length)

    def model(self) -> CausalModel:
        """Always with the same weights."""
        model = new_model(self.config)
        model.initialise(0)
        return model


@dataclass(frozen=True)
class Contender:
    """`step` trains on a batch (rows, length + 1); `loss` is the mean one of a batch, in fp32, without learning."""

    name: str
    step: Callable[[Tensor], None]
    loss: Callable[[Tensor], float]


def ours(shape: Shape, numerics: Numerics) -> Contender:
    model, objective = shape.model().to(numerics.device).train(), NextToken()
    optimizer = make_optimizer("adamw", model, weight_decay=0.1)
    apply(model, numerics)

    def step(batch: Tensor) -> None:
        train_step(model, objective, [batch], optimizer, learning_rate=LEARNING_RATE, gradient_clip=CLIP, numerics=numerics)

    @torch.no_grad()
    def loss(batch: Tensor) -> float:
        model.eval()
        found = float(objective.loss(model, batch)) / int(objective.count(batch))
        model.train()
        return found

    return Contender("slipway", step, loss)


def contenders(shape: Shape, numerics: Numerics) -> Iterator[Contender]:
    """The peers, with the weights of ours. litgpt has no GPT-2. Raises SystemExit in one sentence where one is not installed."""
    if isinstance(shape.config, LlamaConfig):
        yield _litgpt(shape, numerics)
    yield _transformers(shape, numerics)


def _litgpt(shape: Shape, numerics: Numerics) -> Contender:
    try:
        from litgpt import GPT, Config  # a peer: in the benchmarks' own environment alone
        from litgpt.utils import chunked_cross_entropy
    except ImportError:
        raise SystemExit("litgpt is not installed here: see the top of benchmarks/training.py for the environment") from None
    with tempfile.TemporaryDirectory() as ours_, tempfile.TemporaryDirectory() as theirs:
        save_model(shape.model(), Path(ours_), end_of_text=0)
        write_checkpoint(Path(ours_), Path(theirs), name="llama")
        model: Any = GPT(Config.from_file(Path(theirs, CONFIG)))
        model.load_state_dict(torch.load(Path(theirs, WEIGHTS), weights_only=True))
    if shape.config.tied:
        model.lm_head.weight = model.transformer.wte.weight
    model.to(numerics.device).train()

    def loss(called: Callable[..., Any], batch: Tensor) -> Tensor:
        found: Tensor = chunked_cross_entropy(called(batch[:, :-1].contiguous()), batch[:, 1:].contiguous())
        return found

    return _peer("litgpt", model, loss, numerics)


def _transformers(shape: Shape, numerics: Numerics) -> Contender:
    try:
        from transformers import AutoModelForCausalLM  # a peer: in the benchmarks' own environment alone
    except ImportError:
        raise SystemExit("transformers is not installed here: see the top of benchmarks/training.py for the environment") from None
    with tempfile.TemporaryDirectory() as folder:
        save_model(shape.model(), Path(folder), end_of_text=0)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.to(numerics.device).train()

    def loss(called: Callable[..., Any], batch: Tensor) -> Tensor:
        ids = batch[:, :-1].contiguous()
        found: Tensor = called(input_ids=ids, labels=ids, shift_labels=batch[:, 1:].contiguous(), use_cache=False).loss
        return found

    return _peer("transformers", model, loss, numerics)


def _peer(name: str, model: nn.Module, loss: Callable[[Callable[..., Any], Tensor], Tensor], numerics: Numerics) -> Contender:
    """The plain loop of torch: autocast, backward, clip, fused AdamW."""
    optimizer = fused_adamw(model, learning_rate=LEARNING_RATE, weight_decay=0.1)
    called: Callable[..., Any] = torch.compile(model) if numerics.compile else model

    def step(batch: Tensor) -> None:
        with numerics.autocast():
            found = loss(called, batch)
        found.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def mean(batch: Tensor) -> float:
        return float(loss(model, batch))

    return Contender(name, step, mean)


def fused_adamw(model: nn.Module, *, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Torch's own, set as ours is: matrices alone decay."""
    parameters = list(model.parameters())
    groups = [
        {"params": [each for each in parameters if each.ndim >= 2], "weight_decay": weight_decay},
        {"params": [each for each in parameters if each.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95), fused=True)
