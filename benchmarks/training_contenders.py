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
    config = shape.config
    assert isinstance(config, LlamaConfig)
    model: Any = GPT(
        Config(
            name="llama",
            block_size=config.context_length,
            vocab_size=config.vocabulary,
            padded_vocab_size=config.vocabulary,
            n_layer=config.n_layers,
            n_head=config.n_heads,
            n_query_groups=config.n_kv_heads,
            head_size=config.head_width,
            n_embd=config.width,
            intermediate_size=config.hidden,
            rotary_percentage=1.0,
            rope_base=int(config.rope_base),
            parallel_residual=False,
            bias=False,
            norm_class_name="RMSNorm",
            norm_eps=config.norm_epsilon,
            mlp_class_name="LLaMAMLP",
        )
    )
    model.load_state_dict(_litgpt_weights(shape.model().state_dict(), config.n_layers))
    if config.tied:
        model.lm_head.weight = model.transformer.wte.weight
    model.to(numerics.device).train()

    def loss(called: Callable[..., Any], batch: Tensor) -> Tensor:
        found: Tensor = chunked_cross_entropy(called(batch[:, :-1].contiguous()), batch[:, 1:].contiguous())
        return found

    return _peer("litgpt", model, loss, numerics)


def _litgpt_weights(ours_: dict[str, Tensor], n_layers: int) -> dict[str, Tensor]:
    found = {
        "transformer.wte.weight": ours_["embedding.weight"],
        "lm_head.weight": ours_["head.weight"],
        "transformer.ln_f.weight": ours_["norm.weight"],
    }
    for i in range(n_layers):
        a, b = f"blocks.{i}.", f"transformer.h.{i}."
        found[f"{b}norm_1.weight"] = ours_[f"{a}attention_norm.weight"]
        found[f"{b}norm_2.weight"] = ours_[f"{a}mlp_norm.weight"]
        found[f"{b}attn.qkv.weight"] = torch.cat([ours_[f"{a}attention.{part}.weight"] for part in "qkv"])
        found[f"{b}attn.proj.weight"] = ours_[f"{a}attention.out.weight"]
        for theirs, name in (("fc_1", "gate"), ("fc_2", "up"), ("proj", "down")):
            found[f"{b}mlp.{theirs}.weight"] = ours_[f"{a}mlp.{name}.weight"]
    return found


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
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95), fused=True)
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
