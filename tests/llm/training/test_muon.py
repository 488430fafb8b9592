"""Muon: its update is a polar factor at AdamW's size, every parameter has one optimizer, a run goes on bit for bit."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from infra.store.folder import FolderStore
from llm.events import CheckpointSaved, Event, ignore
from llm.models.build import new_model
from llm.models.classifier import Classifier
from llm.models.presets import PRESETS
from llm.training.muon import POLYNOMIALS, Muon, orthogonalise
from llm.training.numerics import Numerics
from llm.training.optimizers import AdamW, Optimizer, Together, hidden_matrices, make_optimizer
from llm.training.pretrain import PretrainJob, pretrain
from llm.training.step import NextToken, train_step

TINY = PRESETS["llama-tiny"]


def matrix(singular_values: Tensor, rows: int, columns: int) -> Tensor:
    """A random matrix with these singular values."""
    generator = torch.Generator().manual_seed(0)
    rank = len(singular_values)
    left, right = (torch.linalg.qr(torch.randn(size, rank, generator=generator)).Q for size in (rows, columns))
    made: Tensor = (left * singular_values) @ right.T
    return made


@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (64, 176), (176, 64)])
@pytest.mark.parametrize("size", [1e-8, 1.0, 1e6])
def test_an_orthogonalised_matrix_keeps_its_directions_and_evens_out_their_lengths(rows: int, columns: int, size: float) -> None:
    given = matrix(torch.logspace(0, -1, 64) * size, rows, columns)
    found = orthogonalise(given[None])[0]
    left, _, right = torch.linalg.svd(given, full_matrices=False)
    lengths = (left.T @ found @ right.T).diagonal()
    assert float(lengths.min()) > 0.88
    assert float(lengths.max()) < 1.12
    assert float((found - (left * lengths) @ right).norm()) < 1e-2


def test_a_matrix_without_a_gradient_stays_where_it_is_and_many_are_done_as_each_alone() -> None:
    assert torch.equal(orthogonalise(torch.zeros(1, 8, 4)), torch.zeros(1, 8, 4))
    several = torch.randn(3, 48, 32)
    torch.testing.assert_close(orthogonalise(several)[1], orthogonalise(several[1:2])[0])


def test_half_precision_is_exact_enough() -> None:
    given = matrix(torch.logspace(0, -1, 64), 64, 176)[None]
    found = torch.linalg.svdvals(orthogonalise(given, half=True)[0])
    assert float(found.min()) > 0.85
    assert float(found.max()) < 1.15
    torch.testing.assert_close(orthogonalise(given, half=True), orthogonalise(given), atol=0.02, rtol=0)


def test_each_polynomial_is_the_best_one_on_what_the_one_before_leaves() -> None:
    """Chebyshev: no odd polynomial of degree 5 is nearer to 1 if its error is greatest at four points, with signs in turn."""
    low, high = 0.02, 1.0
    for a, b, c in POLYNOMIALS:
        x = np.linspace(low, high, 200_001)
        error = 1 - (a * x + b * x**3 + c * x**5)
        inner = [
            place for place in range(1, len(x) - 1) if (error[place] - error[place - 1]) * (error[place + 1] - error[place]) < 0
        ]
        peaks = error[[0, *inner, -1]]
        assert len(peaks) == 4
        assert np.ptp(np.abs(peaks)) < 1e-4
        assert all(first * second < 0 for first, second in pairwise(peaks))
        low, high = 1 - abs(peaks[0]), 1 + abs(peaks[0])
    assert high < 1.1


def test_the_update_is_nesterov_momentum_orthogonalised_at_the_size_of_adamws() -> None:
    parameter = nn.Parameter(matrix(torch.ones(32), 32, 128))
    before, velocity = parameter.detach().clone(), torch.zeros(32, 128)
    optimizer = Muon([("w", parameter)], weight_decay=0.1, momentum=0.9)
    for _ in range(3):
        gradient = torch.randn(32, 128)
        parameter.grad = gradient.clone()
        optimizer.step(1e-2)
        velocity = 0.9 * velocity + gradient
        before = before * (1 - 1e-2 * 0.1) - 1e-2 * 0.2 * 128**0.5 * orthogonalise((gradient + 0.9 * velocity)[None])[0]
        torch.testing.assert_close(parameter.detach(), before)
    assert parameter.grad is None
    moved = orthogonalise(torch.randn(1, 32, 128))[0] * 0.2 * 128**0.5
    assert float(moved.square().mean().sqrt()) == pytest.approx(0.2, rel=0.1)


def test_matrices_stacked_into_one_are_orthogonalised_one_by_one() -> None:
    whole, parts = nn.Parameter(torch.randn(24, 16)), [nn.Parameter(torch.zeros(8, 16)) for _ in range(3)]
    for part, rows in zip(parts, whole.detach().chunk(3), strict=True):
        part.data.copy_(rows)
    gradient = torch.randn(24, 16)
    together = Muon([("qkv", whole)], weight_decay=0.1, fused={"qkv": 3})
    alone = Muon([(str(place), part) for place, part in enumerate(parts)], weight_decay=0.1)
    whole.grad = gradient.clone()
    for part, rows in zip(parts, gradient.chunk(3), strict=True):
        part.grad = rows.clone()
    together.step(0.1)
    alone.step(0.1)
    torch.testing.assert_close(whole.detach(), torch.cat([part.detach() for part in parts]))


def trained_by(optimizer: Optimizer) -> dict[str, list[str]]:
    """Names by kind of optimizer."""
    assert isinstance(optimizer, Together)
    return {type(part).__name__: [name for name, _ in part.named] for part in optimizer.parts}


@pytest.mark.parametrize("name", ["llama-tiny", "gpt2-tiny"])
@pytest.mark.parametrize("classifies", [False, True])
def test_every_parameter_of_a_model_is_trained_exactly_once(name: str, classifies: bool) -> None:
    model: nn.Module = new_model(PRESETS[name])
    model = Classifier(model, ["a", "b", "c"]) if classifies else model  # type: ignore[arg-type]
    found = trained_by(make_optimizer("muon", model, weight_decay=0.1))
    assert sorted(found["Muon"] + found["AdamW"]) == sorted(name for name, _ in model.named_parameters())
    blocks = [key for key, weight in model.named_parameters() if ".blocks." in f".{key}" and weight.ndim == 2]
    assert found["Muon"] == blocks
    assert len(blocks) == 2 * (7 if name == "llama-tiny" else 4)
    assert sum("embedding" in key or "score" in key for key in found["AdamW"]) >= 1 + classifies


def test_the_stacked_projection_of_a_gpt2_is_orthogonalised_as_three() -> None:
    optimizer = make_optimizer("muon", new_model(PRESETS["gpt2-tiny"]), weight_decay=0.1)
    assert isinstance(optimizer, Together)
    muon = optimizer.parts[0]
    assert isinstance(muon, Muon)
    assert sum(count == 3 for batch in muon.batches for _, count, _ in batch) == 2 * 3


@pytest.mark.parametrize("name", ["llama-tiny", "gpt2-tiny"])
def test_beside_muon_the_embeddings_of_tokens_and_nothing_else_move_six_times_as_far(name: str) -> None:
    torch.manual_seed(0)
    model = new_model(PRESETS[name])
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    optimizer = make_optimizer("muon", model, weight_decay=0.0)
    NextToken().loss(model, torch.randint(512, (4, 33))).backward()
    optimizer.step(1e-3)
    moved = {key: float((value - before[key]).detach().abs().max()) for key, value in model.named_parameters()}
    assert moved.pop("embedding.weight") == pytest.approx(6e-3, rel=1e-2)  # AdamW's first step is as long as its rate
    others = [value for key, value in moved.items() if before[key].ndim == 1 or "position" in key]
    assert others == pytest.approx([1e-3] * len(others), rel=1e-2)


def test_a_parameter_left_out_or_taken_twice_is_an_error_before_the_first_step() -> None:
    named = list(new_model(TINY).named_parameters())
    hidden, others = hidden_matrices(named)
    with pytest.raises(ValueError, match=r"nothing trains norm\.weight$"):
        Together(named, Muon(hidden, weight_decay=0.1), AdamW(others[:-1], weight_decay=0.1))
    with pytest.raises(ValueError, match=r"blocks\.0\.attention\.q\.weight is trained twice"):
        Together(named, Muon(hidden, weight_decay=0.1), AdamW([*others, hidden[0]], weight_decay=0.1))
    with pytest.raises(ValueError, match=r"head\.weight is trained twice, as embedding\.weight too"):
        Together(
            named,
            Muon(hidden, weight_decay=0.1),
            AdamW([*others, ("head.weight", dict(named)["embedding.weight"])], weight_decay=0),
        )


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_step_with_a_gradient_that_is_no_number_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    model, batch = new_model(TINY), torch.randint(512, (2, 17))
    optimizer = make_optimizer(name, model, weight_decay=0.1)  # type: ignore[arg-type]

    def step(found_inf: float | None, spoil: bool = False) -> None:
        NextToken().loss(model, batch).backward()
        if spoil:
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.grad.view(-1)[0] = float("nan")
        optimizer.step(1e-2, None if found_inf is None else torch.tensor(found_inf))

    step(None)
    kept = {key: value.clone() for key, value in [*model.state_dict().items(), *optimizer.state().items()]}
    step(1.0, spoil=True)
    assert all(torch.equal(value, kept[key]) for key, value in [*model.state_dict().items(), *optimizer.state().items()])
    reference = new_model(TINY)
    reference.load_state_dict(model.state_dict())
    step(0.0)
    torch.manual_seed(0)
    plain, model = model, reference
    again = make_optimizer(name, model, weight_decay=0.1)  # type: ignore[arg-type]
    for key, value in again.state().items():
        value.copy_(kept[key])
    optimizer = again
    step(None)
    for ours, theirs in zip(plain.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_batch_is_memorised_in_fewer_steps_than_with_adamw() -> None:
    def last(name: str) -> float:
        torch.manual_seed(0)
        batch, model = torch.randint(512, (4, 33)), new_model(TINY)
        optimizer, loss = make_optimizer(name, model, weight_decay=0.0), 0.0  # type: ignore[arg-type]
        for _ in range(25):
            loss = float(
                train_step(
                    model, NextToken(), [batch], optimizer, learning_rate=1e-2, gradient_clip=1.0, numerics=Numerics.decide("fp32")
                ).loss
            )
        return loss

    assert last("muon") < 0.8 * last("adamw")


class Stopped(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("schedule", ["warmup-stable-decay", "cosine"])
def test_a_run_with_muon_goes_on_bit_for_bit(store: FolderStore, make_job: Callable[..., PretrainJob], schedule: str) -> None:
    whole = pretrain(make_job("pretrain-whole-1", optimizer="muon", schedule=schedule), ignore)

    def stop(event: Event) -> None:
        if isinstance(event, CheckpointSaved) and event.step == 8:
            raise Stopped

    with pytest.raises(Stopped):
        pretrain(make_job("pretrain-cut-1", optimizer="muon", schedule=schedule), stop)
    again = make_job("pretrain-cut-2", earlier_runs=("pretrain-cut-1",), optimizer="muon", schedule=schedule)
    history = pretrain(again, ignore)
    for column in ("loss", "gradient_norm", "learning_rate", "validation_loss"):
        assert [row[column] for row in history.rows] == [row[column] for row in whole.rows]
    assert again.numerics.document()["optimizer"] == "muon"
