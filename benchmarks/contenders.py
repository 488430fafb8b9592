"""The two sides of `benchmarks.convergence`: our training step as a recipe runs it, and transformers as well set up as we can."""

from collections.abc import Callable
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.training_contenders import fused_adamw
from llm.models.build import new_model
from llm.models.hub_config import to_hugging_face
from llm.models.presets import preset
from llm.training.apply import apply
from llm.training.config import TrainingConfig
from llm.training.numerics import Numerics
from llm.training.optimizers import Optimizer, make_optimizer
from llm.training.schedules import cosine, learning_rate
from llm.training.step import NextToken, train_step

MODEL: Final = "llama-14m"
_LONG: Final = 1e15  # FLOPs, an hour on two cores: compiling, which counts for neither side, is decided as for such a run


class Contender(Protocol):
    """One side: a model and its optimizer, to be begun again for each run without compiling again."""

    name: str

    def begin(self, *, seed: int, rate: float, steps: int) -> None:
        """Fresh weights and optimizer, for a run of `steps` at the peak learning rate `rate`."""
        ...

    def step(self, number: int, batch: Tensor) -> float:
        """One update (from 0) on ids (B, T + 1). Returns the loss, so that the step is over when this returns."""
        ...

    def nats(self, rows: Tensor) -> float:
        """Of all targets of these rows (n, T + 1)."""
        ...

    def described(self) -> str:
        """Precision, compiler, optimizer and schedule, for the report."""
        ...


class Ours:
    """Our step with a pretraining recipe's settings; what they do not say is the recipe's default."""

    name = "ours"

    def __init__(self, config: TrainingConfig, vocabulary: int) -> None:
        self.config = config
        shape = preset(MODEL, vocabulary=vocabulary, context_length=config.sequence_length)
        self.numerics = Numerics.decide(config.precision, config.optimizer, compile=config.compile, flops=_LONG)
        self.model = new_model(shape)
        apply(self.model, self.numerics, config.activation_checkpointing)
        self.optimizer: Optimizer | None = None
        self.steps, self.rate = 1, config.learning_rate

    def begin(self, *, seed: int, rate: float, steps: int) -> None:
        self.model.initialise(seed)
        self.optimizer = make_optimizer(
            self.numerics.optimizer, self.model, weight_decay=self.config.weight_decay, half=self.numerics.precision != "fp32"
        )
        self.steps, self.rate = steps, rate

    def step(self, number: int, batch: Tensor) -> float:
        assert self.optimizer is not None, "begin comes first"
        rate = learning_rate(
            self.config.schedule,
            number,
            self.steps,
            peak=self.rate,
            warmup_share=self.config.warmup_share,
            decay_share=self.config.decay_share,
        )
        result = train_step(
            self.model,
            NextToken(),
            [batch],
            self.optimizer,
            learning_rate=rate,
            gradient_clip=self.config.gradient_clip,
            numerics=self.numerics,
        )
        return float(result.loss)

    @torch.no_grad()
    def nats(self, rows: Tensor) -> float:
        return sum(float(NextToken().loss(self.model, part)) for part in rows.split(16))

    def described(self) -> str:
        compiled = "compiled" if self.numerics.compile else "eager"
        return f"{self.numerics.precision}, {compiled}, {self.numerics.optimizer}, {self.config.schedule}"


class Transformers:
    """The same shape in transformers: compiled, bf16 where the machine is fast at it, fused AdamW, warm-up and cosine.

    Beyond what its own trainer does by default: betas, weight decay on matrices alone and clipping as ours.
    """

    name = "transformers"

    def __init__(self, config: TrainingConfig, vocabulary: int, *, compiled: bool) -> None:
        from transformers import AutoConfig, AutoModelForCausalLM  # the peer stands in the benchmarks' environment alone

        ours = preset(MODEL, vocabulary=vocabulary, context_length=config.sequence_length)
        theirs = AutoConfig.for_model(**to_hugging_face(ours, end_of_text=0, dtype="float32"))
        self.config, self.compiled = config, compiled
        self.precision = Numerics.decide(config.precision).precision
        build: Any = AutoModelForCausalLM.from_config
        self.fresh: Callable[[], nn.Module] = lambda: build(theirs)
        self.model = self.fresh()
        self.forward: Any = torch.compile(self.model) if compiled else self.model
        self.optimizer: torch.optim.Optimizer | None = None
        self.steps, self.rate = 1, config.learning_rate

    def begin(self, *, seed: int, rate: float, steps: int) -> None:
        torch.manual_seed(seed)
        self.model.load_state_dict(self.fresh().state_dict())
        self.model.train()
        self.optimizer = fused_adamw(self.model, learning_rate=rate, weight_decay=self.config.weight_decay)
        self.steps, self.rate = steps, rate

    def step(self, number: int, batch: Tensor) -> float:
        assert self.optimizer is not None, "begin comes first"
        for group in self.optimizer.param_groups:
            group["lr"] = cosine(number, self.steps, peak=self.rate, warmup_share=self.config.warmup_share)
        loss = self._loss(self.forward, batch) / batch[:, 1:].numel()
        loss.backward()
        if self.config.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    @torch.no_grad()
    def nats(self, rows: Tensor) -> float:
        found = 0.0
        for part in rows.split(16):
            logits = self.model(input_ids=part[:, :-1], use_cache=False).logits  # fp32 and eager, as ours is looked at
            found += float(F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum"))
        return found

    def described(self) -> str:
        return f"{self.precision}, {'compiled' if self.compiled else 'eager'}, adamw (torch, fused), cosine"

    def _loss(self, model: Any, batch: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            logits = model(input_ids=batch[:, :-1], use_cache=False).logits  # (B, T, V)
        return F.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten(), reduction="sum")
