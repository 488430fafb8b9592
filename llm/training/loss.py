"""Cross-entropy over a large vocabulary, a few rows at a time, so that the logits of all tokens never exist at once.

A batch of 16 x 4,096 tokens over 128,000 words has 31 GiB of fp32 logits, and a plain loss keeps them three times. Here each
chunk of rows gives its share of the loss and of both gradients while its logits are there, and they are forgotten
(Wijmans et al., 2024, do the same within one kernel). That is also faster on a CPU, whose cache holds a chunk.
"""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

LOGITS_AT_ONCE: Final = 1 << 21  # 8 MiB in fp32


def cross_entropy(head: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    """The summed nats () of targets (N,) under an output layer that reads hidden states (N, C). Part of the step's autograd.

    A plain linear layer, tied to the embedding or not, takes the fast way; any other, such as one with adapters, is called as it
    is, chunk by chunk, twice.
    """
    rows = rows_at_once(head)
    if type(head) is nn.Linear and head.bias is None:
        weight = head.weight if torch.is_grad_enabled() else head.weight.detach()  # a look makes no gradients
        return _CrossEntropy.apply(hidden, weight, targets, rows)
    total = torch.zeros((), device=hidden.device)
    for x, y in zip(hidden.split(rows), targets.split(rows), strict=True):
        total = total + checkpoint(_summed, head, x, y, use_reentrant=False)
    return total


@torch.no_grad()
def nats(head: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    """The nats of each target: (N,), fp32. For a look: nothing is learnt from it."""
    rows = rows_at_once(head)
    parts = zip(hidden.split(rows), targets.split(rows), strict=True)
    found = [F.cross_entropy(head(x).float(), y, reduction="none") for x, y in parts]
    return torch.cat(found) if found else hidden.new_zeros(0, dtype=torch.float32)


def rows_at_once(head: nn.Module) -> int:
    """How many rows of logits are made at a time: by the vocabulary alone, so that the sums have one order on every machine."""
    vocabulary = getattr(head, "out_features", None) or head.weight.shape[0]  # type: ignore[index]
    return max(1, LOGITS_AT_ONCE // int(vocabulary))


def _summed(head: Callable[[Tensor], Tensor], hidden: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(head(hidden).float(), targets, reduction="sum")


class _CrossEntropy(torch.autograd.Function):
    """The gradients are made in the forward pass, for a loss of weight 1, and scaled in the backward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> Tensor:
        if torch.is_autocast_enabled(hidden.device.type):
            dtype = torch.get_autocast_dtype(hidden.device.type)
            hidden_, weight_ = hidden.to(dtype), weight.to(dtype)
        else:
            hidden_, weight_ = hidden, weight
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        wanted_hidden, wanted_weight, *_ = ctx.needs_input_grad
        grad_hidden = torch.empty_like(hidden) if wanted_hidden else None
        grad_weight = torch.zeros_like(weight) if wanted_weight else None
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(targets), rows):
                x, y = hidden_[start : start + rows], targets[start : start + rows, None]  # (n, C), (n, 1)
                log_p = F.log_softmax(x @ weight_.T, dim=-1, dtype=torch.float32)  # (n, V)
                total -= log_p.gather(1, y).sum()
                if grad_hidden is None and grad_weight is None:
                    continue
                slope = log_p.exp_().scatter_add_(1, y, y.new_full(y.shape, -1, dtype=torch.float32)).to(x.dtype)  # (n, V)
                if grad_hidden is not None:
                    grad_hidden[start : start + rows] = slope @ weight_
                if grad_weight is not None and grad_weight.dtype == slope.dtype:
                    grad_weight.addmm_(slope.T, x)
                elif grad_weight is not None:
                    grad_weight += slope.T @ x
        ctx.gradients = (grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError("the loss was taken back through once already: its gradients are made once, and scaled in place")
        hidden, weight = (None if each is None else each.mul_(outputs[0].to(each.dtype)) for each in gradients)
        return hidden, weight, None, None
