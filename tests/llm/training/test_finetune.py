"""Finetuning learns, and a run that was stopped anywhere ends as if it never had been."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint import FileSystemReader

from infra.store.errors import InputError
from infra.store.folder import FolderStore
from infra.store.manifest import load, publish
from llm.events import CheckpointSaved, Event, Noted, Resumed, StepDone, Validated, ignore
from llm.models.build import new_model
from llm.models.hub import load_model, save_model
from llm.models.lora import add_adapters
from llm.models.lora_config import LoraConfig
from llm.models.presets import preset
from llm.training import classify
from llm.training.checkpoints import restore_model
from llm.training.config import FinetuneConfig, OptimizerName
from llm.training.finetune import FinetuneJob, finetune
from llm.training.history import History
from llm.training.loop import DivergedError
from llm.training.optimizers import AdamW, make_optimizer
from llm.training.resume import newest

MakeJob = Callable[..., FinetuneJob]


class Stopped(BaseException):
    """The process is gone."""


def stop_after(step: int) -> Callable[[Event], None]:
    def observe(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == step:
            raise Stopped

    return observe


def column(history: History, name: str) -> list[float | None]:
    return [row[name] for row in history.rows]


def trained(store: FolderStore, job: FinetuneJob) -> dict[str, torch.Tensor]:
    model = classify.learner(load(store, job.base).folder(), ("cat", "dog", "house"), job.training)
    last = newest(store, [job.run])
    assert last is not None
    restore_model(last, model)
    return model.state_dict()


def test_a_base_in_half_precision_is_trained_in_fp32(store: FolderStore, make_finetune_job: MakeJob, tmp_path: Path) -> None:
    job = make_finetune_job(steps=60)
    half = Path(shutil.copytree(load(store, job.base).folder(), tmp_path / "half", ignore=shutil.ignore_patterns("manifest.json")))
    save_model(load_model(half).bfloat16(), half, end_of_text=0)
    base = publish(store, "runs/half/artifacts/package", half, {"kind": "package"})
    task = classify.prepare(base, load(store, job.examples), job.training)
    assert {parameter.dtype for parameter in task.model.parameters()} == {torch.float32}
    assert finetune(replace(job, base=base.prefix), ignore).rows[-1]["loss"] < 0.1


def test_a_classifier_learns_and_tells_what_it_does(make_finetune_job: MakeJob) -> None:
    events: list[Event] = []
    history = finetune(make_finetune_job(steps=60, validate_every=20), events.append)
    looks = [event for event in events if isinstance(event, Validated)]
    assert [(look.step, look.measure) for look in looks] == [(20, "accuracy"), (40, "accuracy"), (60, "accuracy")]
    assert looks[-1].value == 1.0
    assert history.last_validation["validation_accuracy"] == 1.0
    assert history.last_validation["validation_bits_per_byte"] is None
    assert history.rows[0]["loss"] == pytest.approx(1.0986, abs=0.3)  # the nats of one label of three
    assert history.rows[-1]["loss"] < 0.1
    assert [event.step for event in events if isinstance(event, CheckpointSaved)] == list(range(4, 61, 4))


def test_the_tokens_of_a_step_are_those_of_its_examples_without_padding(store: FolderStore, make_finetune_job: MakeJob) -> None:
    job = make_finetune_job(steps=12)
    history = finetune(job, ignore)
    task = classify.prepare(load(store, job.base), load(store, job.examples), job.training)
    assert len(task.lengths) == 48
    assert history.tokens() == int(task.lengths.sum())  # 12 steps of 4 are one epoch: each example once
    assert len(set(task.lengths.tolist())) > 5


@pytest.mark.parametrize("training", [{}, {"lora": LoraConfig(rank=4, dropout=0.2)}], ids=["full", "lora"])
@pytest.mark.parametrize("stop", [3, 4, 5, 12, 13])  # an epoch has 12 steps
def test_a_run_stopped_at_any_step_ends_as_if_undisturbed_bit_for_bit(
    store: FolderStore, make_finetune_job: MakeJob, stop: int, training: dict[str, Any]
) -> None:
    training = {"steps": 14, **training}
    whole = finetune(make_finetune_job("finetune-whole-1", **training), ignore)
    with pytest.raises(Stopped):
        finetune(make_finetune_job("finetune-cut-1", **training), stop_after(stop))
    events: list[Event] = []
    again = make_finetune_job("finetune-cut-2", earlier_runs=("finetune-cut-1",), **training)
    history = finetune(again, events.append)
    assert [event.step for event in events if isinstance(event, Resumed)] == ([] if stop <= 4 else [(stop - 1) // 4 * 4])
    for name in ("loss", "gradient_norm", "learning_rate", "tokens", "validation_loss", "validation_accuracy"):
        assert column(history, name) == column(whole, name)
    kept, expected = trained(store, again), trained(store, make_finetune_job("finetune-whole-1", **training))
    assert all(torch.equal(kept[name], expected[name]) for name in expected)


def test_with_adapters_the_base_stands_still_and_no_checkpoint_holds_it(store: FolderStore, make_finetune_job: MakeJob) -> None:
    events: list[Event] = []
    job = make_finetune_job(steps=120, learning_rate=6e-3, lora=LoraConfig(rank=4))
    assert finetune(job, events.append).rows[-1]["loss"] < 0.1
    (said,) = (event.message for event in events if isinstance(event, Noted))
    assert re.fullmatch(r"adapters of rank 4: [\d,]+ of [\d,]+ parameters learn", said)
    last = newest(store, [job.run])
    assert last is not None
    held = FileSystemReader(last.folder()).read_metadata().state_dict_metadata
    model = {name.removeprefix("model.") for name in held if name.startswith("model.")}
    assert {name.rpartition(".")[2] for name in model} == {"lora_a", "lora_b", "weight"}
    assert {name for name in model if name.endswith("weight")} == {"score.weight"}
    base, tuned = load_model(load(store, job.base).folder()).state_dict(), trained(store, job)
    assert all(torch.equal(tuned[f"body.{name}"], weight) for name, weight in base.items() if f"body.{name}" in tuned)


@pytest.mark.parametrize(("name", "embedding"), [("adamw", 0.1), ("muon", 0.6)])
def test_weights_beside_adapters_take_a_tenth_of_their_rate(name: OptimizerName, embedding: float) -> None:
    model = new_model(preset("llama-tiny", vocabulary=64, context_length=32))
    add_adapters(model, LoraConfig(rank=2))
    model.embedding.requires_grad_()
    optimizer = make_optimizer(name, model, weight_decay=0.0)
    adamw = next(part for part in getattr(optimizer, "parts", [optimizer]) if isinstance(part, AdamW))
    rates = {key: rate for (_, rate), group in adamw.groups.items() for key, _ in group}
    assert rates.pop("embedding.weight") == pytest.approx(embedding)
    assert set(rates.values()) == ({1.0} if name == "adamw" else set())


def test_adapters_and_tensor_parallelism_are_refused_in_one_phrase() -> None:
    problems = FinetuneConfig(steps=1, workers=2, tensor_parallel=2, lora=LoraConfig(rank=-1, dropout=1.0)).problems()
    assert problems == ["training.lora.rank is -1, it must be at least 0", "training.lora.dropout is 1.0, it must be less than 1"]
    (problem,) = FinetuneConfig(steps=1, workers=2, tensor_parallel=2, lora=LoraConfig(rank=8)).problems()
    assert problem.startswith("training.lora and training.tensor_parallel do not go together")


def test_a_loss_that_is_no_number_names_the_stage(make_finetune_job: MakeJob) -> None:
    with pytest.raises(DivergedError, match=r"^finetune-classify: the gradient of the loss is nan at step \d+"):
        finetune(make_finetune_job(learning_rate=1e30), ignore)


def test_a_checkpoint_of_another_base_is_refused(store: FolderStore, make_finetune_job: MakeJob) -> None:
    job = make_finetune_job()
    finetune(job, ignore)
    checkpoint = newest(store, [job.run])
    assert checkpoint is not None
    manifest = f"{checkpoint.prefix}/manifest.json"
    store.write(manifest, store.read(manifest).replace(load(store, job.base).version.encode(), b"0123456789abcdef"))
    with pytest.raises(InputError, match="another base") as caught:
        finetune(job, ignore)
    assert caught.value.mend == "Start over with --force finetune-classify."


def test_two_ways_to_say_how_long_and_all_that_is_wrong_at_once() -> None:
    assert FinetuneConfig(steps=7).total_steps(1_000) == 7
    assert FinetuneConfig(epochs=2.5, batch_size=10).total_steps(100) == 25
    with pytest.raises(InputError, match="less than one step"):
        FinetuneConfig(epochs=0.01).total_steps(100)
    problems = FinetuneConfig(steps=5, epochs=1.0, batch_size=9, workers=2, warmup_share=0.5, learning_rate=-1.0).problems()
    assert problems == [
        "training.learning_rate is -1.0, it must be more than 0",
        "exactly one of training.steps and training.epochs says how long to train, here training.steps and training.epochs",
        "training.warmup_share and training.decay_share together are more than the whole run",
        "training.batch_size 9 does not divide among 2 workers",
    ]
