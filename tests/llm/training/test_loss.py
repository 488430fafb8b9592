"""The chunked loss is the plain one: same value, same gradients, a fraction of the memory."""

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm.training import loss as module
from llm.training.loss import cross_entropy, nats


class Doubled(nn.Linear):
    """An output layer that is no plain matrix, as one with adapters is not."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def plain(head: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(head(hidden).float(), targets, reduction="sum")


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", 7 * 101)  # 40 rows of 101 logits: five chunks of 7 and one of 5


def given(kind: type[nn.Linear], bias: bool) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    return kind(24, 101, bias=bias), torch.randn(40, 24, requires_grad=True), torch.randint(101, (40,))


@pytest.mark.usefixtures("few_at_once")
@pytest.mark.parametrize(("kind", "bias"), [(nn.Linear, False), (nn.Linear, True), (Doubled, False)])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_chunks_learn_what_the_plain_loss_learns(kind: type[nn.Linear], bias: bool, precision: torch.dtype) -> None:
    head, hidden, targets = given(kind, bias)
    other_head, other_hidden = copy.deepcopy(head), hidden.detach().clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
        ours = cross_entropy(head, hidden, targets) / 40
        theirs = plain(other_head, other_hidden, targets) / 40
    ours.backward()
    theirs.backward()
    close: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-7} if precision == torch.float32 else {"rtol": 2e-2, "atol": 5e-4}
    torch.testing.assert_close(ours, theirs, **close)
    torch.testing.assert_close(hidden.grad, other_hidden.grad, **close)
    for a, b in zip(head.parameters(), other_head.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, **close)
    with torch.no_grad():
        each = nats(other_head, hidden, targets)
        torch.testing.assert_close(each, F.cross_entropy(other_head(hidden), targets, reduction="none"))


@pytest.mark.usefixtures("few_at_once")
def test_a_tied_embedding_learns_from_both_its_ends() -> None:
    torch.manual_seed(0)
    embedding, head, ids = nn.Embedding(101, 24), nn.Linear(24, 101, bias=False), torch.randint(101, (41,))
    head.weight = embedding.weight
    plain(head, embedding(ids[:-1]), ids[1:]).backward()
    expected, embedding.weight.grad = embedding.weight.grad, None
    cross_entropy(head, embedding(ids[:-1]), ids[1:]).backward()
    torch.testing.assert_close(embedding.weight.grad, expected)


def test_no_targets_cost_nothing() -> None:
    head = nn.Linear(24, 101, bias=False)
    loss = cross_entropy(head, torch.zeros(0, 24, requires_grad=True), torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not torch.as_tensor(head.weight.grad).any()
    assert len(nats(head, torch.zeros(0, 24), torch.zeros(0, dtype=torch.int64))) == 0


def test_the_loss_is_not_scaled_twice_by_going_back_twice() -> None:
    head, hidden, targets = given(nn.Linear, False)
    loss = cross_entropy(head, hidden, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once already"):
        loss.backward()


GROWTH = """
import resource, torch
from torch import nn
from llm.training.loss import cross_entropy
head = nn.Linear(16, 128_000, bias=False)
hidden, targets = torch.randn(2048, 16, requires_grad=True), torch.randint(128_000, (2048,))
cross_entropy(head, hidden[:32], targets[:32]).backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
cross_entropy(head, hidden, targets).backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_the_logits_of_a_large_vocabulary_never_exist_at_once() -> None:
    # 2,048 rows of 128,000 logits are 1,000 MiB in fp32; both gradients are 8 MiB
    grown = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True, timeout=120).stdout
    assert float(grown) < 100
