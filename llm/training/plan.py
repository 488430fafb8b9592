"""What a training costs before it is run. Loads without torch."""

from dataclasses import dataclass

from llm.models.config import CausalConfig
from llm.training.config import TrainingConfig


@dataclass(frozen=True)
class Cost:
    """Counts of one training run; memory in bytes, FLOPs in all."""

    parameters: int
    steps: int
    tokens: int
    tokens_per_parameter: float
    flops_per_token: int
    flops: int
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    logit_bytes: int

    @property
    def memory_bytes(self) -> int:
        return self.weight_bytes + self.gradient_bytes + self.optimizer_bytes + self.activation_bytes + self.logit_bytes

    def seconds(self, tokens_per_second: float) -> float:
        return self.tokens / tokens_per_second


def cost(model: CausalConfig, training: TrainingConfig, *, training_tokens: int) -> Cost:
    """training_tokens: those of the training split; only `epochs` depends on it.

    Weights, gradients and AdamW's two moments are fp32. Activations are what the backward pass keeps of each block in a
    step of one process, by the shapes of `llm.models.llama` in fp32: an estimate; the logits stand there three times
    (half precision or fp32, fp32 for the loss, their gradient).
    """
    parameters = model.parameters()
    steps = training.total_steps(parameters=parameters, training_tokens=training_tokens)
    rows = training.batch_size // max(1, training.workers)
    in_flight = rows * training.sequence_length
    kv = model.n_kv_heads * model.head_width
    block = 8 * model.width + 4 * kv + 4 * model.hidden
    flops = model.flops_per_token(training.sequence_length)
    tokens = steps * training.tokens_per_step
    return Cost(
        parameters=parameters,
        steps=steps,
        tokens=tokens,
        tokens_per_parameter=tokens / parameters,
        flops_per_token=flops,
        flops=flops * tokens,
        weight_bytes=4 * parameters,
        gradient_bytes=4 * parameters,
        optimizer_bytes=8 * parameters,
        activation_bytes=4 * in_flight * (model.n_layers * block + 2 * model.width),
        logit_bytes=12 * in_flight * model.vocabulary,
    )
