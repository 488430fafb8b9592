"""However workers share a model, they learn what one process learns, and go on from each other's checkpoints."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import torch

from infra.store.errors import InputError
from llm.training.config import TrainingConfig
from llm.training.parallel import arrange
from llm.training.pieces import total_norm
from llm.training.topology import Topology
from tests.llm.training.parallel_worker import run

Answer = dict[str, Any]
Task = dict[str, Any]
ALL: Final = (("llama", "adamw"), ("llama", "muon"), ("qwen", "muon"), ("gpt2", "adamw"), ("gpt2", "muon"))
SOME: Final = ALL[1:4:2]
ADAPTERS: Final = ("adapters", "adamw")
TWO: Final[list[tuple[Task, Sequence[tuple[str, str]]]]] = [
    ({"parallel": "ddp"}, (*ALL, ADAPTERS)),
    ({"parallel": "fsdp"}, (*ALL, ADAPTERS)),
    ({"tensor_parallel": 2}, ALL),
    ({"parallel": "fsdp", "activation_checkpointing": "selective"}, SOME),
    ({"tensor_parallel": 2, "activation_checkpointing": "full"}, SOME),
]
FOUR: Final[list[tuple[Task, Sequence[tuple[str, str]]]]] = [
    ({"parallel": "hybrid", "shard_size": 2}, (*SOME, ADAPTERS)),
    ({"parallel": "fsdp", "tensor_parallel": 2}, SOME),
    ({"parallel": "ddp", "tensor_parallel": 2}, SOME),
]
ROUNDING: Final = 1e-5  # of losses and norms over six steps; found on a CPU with 2 workers: 1e-6


def together(folder: Path, world: int, tasks: Sequence[Task]) -> list[list[Answer]]:
    """What each of `world` processes answers to each task: by task, then by rank."""
    folder.mkdir()
    files = [folder / f"{rank}.json" for rank in range(world)]
    for rank, file in enumerate(files):
        file.write_text(json.dumps({"rank": rank, "world": world, "store": str(folder / "meeting"), "tasks": list(tasks)}))
    argv = [sys.executable, "-W", "ignore", "-m", "tests.llm.training.parallel_worker"]
    processes = [subprocess.Popen([*argv, str(file)]) for file in files]
    try:
        assert [process.wait(400) for process in processes] == [0] * world
    finally:
        for process in processes:
            process.kill()
    answers = [json.loads(file.with_suffix(".out").read_text()) for file in files]
    return [list(each) for each in zip(*answers, strict=True)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Answer]:
    """What one process finds, and the checkpoint that it leaves after three steps."""
    folder, known = tmp_path_factory.mktemp("alone"), dict[tuple[str, str], Answer]()

    def answer(model: str, optimizer: str) -> Answer:
        if (model, optimizer) not in known:
            path = str(folder / f"{model}-{optimizer}")
            task = {"model": model, "optimizer": optimizer, "training": {}, "save": path}
            known[model, optimizer] = run(task, Topology()) | {"checkpoint": path}
        return known[model, optimizer]

    return answer


def assert_same(answers: Sequence[Answer], expected: Answer, first: int = 0) -> None:
    """Every worker found what one process finds, from the step `first` on, and the first one shows texts with such a model."""
    for answer in answers:
        torch.testing.assert_close(answer["found"], expected["found"][first:], rtol=ROUNDING, atol=0)
        torch.testing.assert_close(answer["looks"][:2], expected["looks"][:2], rtol=ROUNDING, atol=0)
        assert answer["found"] == answers[0]["found"]  # the same bits, or workers would part at a limit
        assert answer["names"] == expected["names"]
    torch.testing.assert_close(answers[0]["looks"][2], expected["looks"][2], rtol=ROUNDING, atol=0)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("world", "trainings"), [(2, TWO), (4, FOUR)])
def test_workers_find_the_losses_of_one_process_and_one_workers_bad_gradient_changes_nothing_on_any(
    world: int, trainings: list[tuple[Task, Sequence[tuple[str, str]]]], alone: Callable[[str, str], Answer], tmp_path: Path
) -> None:
    cases = [(*model, training) for training, models in trainings for model in models]
    tasks = [{"model": model, "optimizer": optimizer, "training": training, "spoil": True} for model, optimizer, training in cases]
    for (model, optimizer, training), answers in zip(cases, together(tmp_path / "run", world, tasks), strict=True):
        expected = alone(model, optimizer)
        assert expected["found"][0][0] > expected["found"][-1][0] + 0.1  # it learns
        assert_same(answers, expected)
        assert all(answer["kept"] for answer in answers)
        if training.get("parallel", "ddp") != "ddp":
            pieces = training.get("shard_size", world // training.get("tensor_parallel", 1))
            assert all(answer["held"] < 1.1 / pieces for answer in answers)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_goes_on_in_another_arrangement_than_it_began_in(alone: Callable[[str, str], Answer], tmp_path: Path) -> None:
    tasks, written = list[Task](), list[tuple[str, str, str]]()
    for model, optimizer in SOME:

        def task(load: str = "", save: str = "", of: tuple[str, str] = (model, optimizer), **training: Any) -> Task:
            files = ({"load": load, "first": 3} if load else {}) | ({"save": save} if save else {})
            return {"model": of[0], "optimizer": of[1], "training": training, **files}

        sharded, split = str(tmp_path / f"fsdp-{model}"), str(tmp_path / f"tensor-{model}")
        written += [(model, optimizer, sharded), (model, optimizer, split)]
        tasks += [
            task(save=sharded, parallel="fsdp"),
            task(save=split, tensor_parallel=2),
            task(alone(model, optimizer)["checkpoint"], parallel="fsdp"),
            task(alone(model, optimizer)["checkpoint"], tensor_parallel=2),
            task(sharded, parallel="ddp"),
            task(sharded, tensor_parallel=2),
            task(split, parallel="fsdp"),
        ]
    for each, answers in zip(tasks, together(tmp_path / "run", 2, tasks), strict=True):
        assert_same(answers, alone(each["model"], each["optimizer"]), first=each.get("first", 0))
    for model, optimizer, checkpoint in written:
        again = run({"model": model, "optimizer": optimizer, "training": {}, "load": checkpoint, "first": 3}, Topology())
        assert_same([again], alone(model, optimizer), first=3)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_model_that_does_not_divide_among_the_workers_is_refused_on_all_of_them(tmp_path: Path) -> None:
    (answers,) = together(tmp_path / "run", 2, [{"model": "odd", "optimizer": "adamw", "training": {"tensor_parallel": 2}}])
    said = "training.tensor_parallel: the model's 3 key-value heads and 99 hidden units do not divide among 2 workers"
    assert all(answer["refused"].startswith(said) for answer in answers)


def test_workers_that_do_not_divide_are_refused_before_they_meet() -> None:
    with pytest.raises(InputError, match="2 does not divide 3 workers"):
        arrange(Topology(0, 3), TrainingConfig(tensor_parallel=2), "cpu")
    with pytest.raises(InputError, match="groups of 4 workers, of 6 in all") as raised:
        arrange(Topology(0, 6), TrainingConfig(parallel="hybrid", shard_size=4), "cpu")
    assert raised.value.where == "training.shard_size"


def test_one_process_shares_with_nobody_whatever_the_recipe_says() -> None:
    assert arrange(Topology(), TrainingConfig(parallel="fsdp"), "cpu") == Topology()
    assert arrange(Topology(0, 2), TrainingConfig(parallel="hybrid", shard_size=1), "cpu").mesh is None


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"workers": 3, "tensor_parallel": 2, "batch_size": 6}, "training.tensor_parallel 2 takes training.workers in a multiple"),
        ({"tensor_parallel": 2}, "here are 0"),
        ({"workers": 4, "tensor_parallel": 2, "batch_size": 3}, "does not divide among 4 workers, 2 of which compute together"),
        ({"workers": 2, "tensor_parallel": 2, "precision": "fp8"}, "do not go together"),
        ({"workers": 4, "parallel": "fsdp", "shard_size": 2}, "goes with hybrid alone"),
        ({"workers": (1, 3), "parallel": "hybrid", "shard_size": 4}, "shard_size 4 takes training.workers in a multiple of it"),
    ],
)
def test_a_recipe_whose_workers_cannot_share_so_is_refused(training: dict[str, Any], said: str) -> None:
    (problem,) = TrainingConfig(steps=1, **training).problems()
    assert said in problem


@pytest.mark.parametrize(
    "training",
    [
        {"workers": 4, "tensor_parallel": 2, "batch_size": 2},  # the tensor group has the same rows
        {"workers": (1, 4), "tensor_parallel": 2},
        {"workers": 2, "parallel": "hybrid"},
    ],
)
def test_a_recipe_whose_workers_can_share_so_is_taken(training: dict[str, Any]) -> None:
    assert TrainingConfig(steps=1, **training).problems() == []


def test_the_length_of_whole_tensors_is_what_torch_says() -> None:
    tensors = [torch.randn(3, 4), torch.randn(5)]
    assert torch.equal(total_norm(tensors, 1), torch.nn.utils.get_total_norm(tensors))
