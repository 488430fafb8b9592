"""Finetuning learns, and a run that was stopped anywhere ends as if it never had been."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from infra.store.errors import InputError
from infra.store.folder import FolderStore
from infra.store.manifest import load, publish
from llm.events import CheckpointSaved, Event, Resumed, StepDone, Validated, ignore
from llm.models.classifier import Classifier
from llm.models.hub import load_model, save_model
from llm.training import classify
from llm.training.checkpoints import restore_model
from llm.training.config import FinetuneConfig
from llm.training.finetune import FinetuneJob, finetune
from llm.training.history import History
from llm.training.loop import DivergedError
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
    model, last = Classifier(load_model(load(store, job.base).folder()), ("cat", "dog", "house")), newest(store, [job.run])
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


@pytest.mark.parametrize("stop", [3, 4, 5, 11, 12])
def test_a_run_stopped_at_any_step_ends_as_if_undisturbed_bit_for_bit(
    store: FolderStore, make_finetune_job: MakeJob, stop: int
) -> None:
    whole = finetune(make_finetune_job("finetune-whole-1"), ignore)
    with pytest.raises(Stopped):
        finetune(make_finetune_job("finetune-cut-1"), stop_after(stop))
    events: list[Event] = []
    again = make_finetune_job("finetune-cut-2", earlier_runs=("finetune-cut-1",))
    history = finetune(again, events.append)
    assert [event.step for event in events if isinstance(event, Resumed)] == ([] if stop <= 4 else [(stop - 1) // 4 * 4])
    for name in ("loss", "gradient_norm", "learning_rate", "tokens", "validation_loss", "validation_accuracy"):
        assert column(history, name) == column(whole, name)
    kept, expected = trained(store, again), trained(store, make_finetune_job("finetune-whole-1"))
    assert all(torch.equal(kept[name], expected[name]) for name in expected)


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
