"""Checkpoints: torch's distributed format, which reshards, in folders that are whole once their manifest is there."""

import shutil
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException

from infra.store.errors import InputError, StoreError
from infra.store.manifest import Thing, describe, publish
from infra.store.protocol import Store
from llm.training.history import FILE, History
from llm.training.random_state import random_state, seed, set_random_state
from llm.training.resume import check, finished, remove, step_of
from llm.training.topology import ALONE, Topology

T = TypeVar("T")
State = dict[str, Tensor]
warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")  # on every call, and meant


class UnsavedError(StoreError):
    """A checkpoint could not be written: the disk is full, the store is away. What was saved before is as it was."""


@dataclass(frozen=True)
class Checkpoints:
    """Those of one run, under `runs/<id>/checkpoints/step-<n>/`.

    The newest `keep` stay, and for good those of every `keep_every` steps (0: none of them).
    """

    store: Store
    run: str
    scratch: Path
    keep: int = 2
    keep_every: int = 0

    def save(self, step: int, state: State, history: History, facts: Mapping[str, Any], topology: Topology = ALONE) -> str:
        """Every worker calls it with its state, and returns the checkpoint's name in the store.

        Workers on other machines have a scratch of their own: each puts the files that it wrote, and the first one publishes.
        Raises UnsavedError in all of them where one could not write; nothing of the checkpoint is left then.
        """
        name = f"runs/{self.run}/checkpoints/step-{step:08d}"
        folder = self.scratch / f"step-{step:08d}"
        leads = topology.leads
        try:
            _together(topology, lambda: remove(self.store, name) if leads else None)  # one that was passed over, or gone back from
            _write(state, folder, topology)
            put = _together(topology, lambda: {} if leads else self._put(name, folder, f"__{topology.rank}_*"))
            beside = {file: entry for files in put for file, entry in files.items()}
            _together(topology, lambda: self._publish(name, folder, history, {**facts, "step": step}, beside) if leads else None)
        except UnsavedError:
            if leads:
                with suppress(StoreError):
                    remove(self.store, name)
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return name

    def _put(self, name: str, folder: Path, pattern: str) -> dict[str, dict[str, Any]]:
        """Moves files of a checkpoint into the store, which nobody sees before its manifest; returns what they are."""
        files = describe(folder, pattern)
        for file in files:
            self.store.put_file(f"{name}/{file}", folder / file)
        return files

    def _publish(self, name: str, folder: Path, history: History, facts: Mapping[str, Any], beside: Mapping[str, Any]) -> None:
        history.write(folder / FILE)
        publish(self.store, name, folder, facts, beside=beside)
        names = finished(self.store, [self.run])
        for old in names[: -self.keep]:
            if not (self.keep_every and step_of(old) % self.keep_every == 0):
                with suppress(StoreError):  # the new one is there: an old one more is no harm
                    remove(self.store, old)


def copied(state: Mapping[str, Tensor]) -> State:
    """On the CPU: what is saved while training goes on."""
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items()}


def with_random_state(state: State, device: str, share: int) -> State:
    """And where the random numbers stand of the workers that have this part of each batch."""
    return state | {f"random.{share}.{name}": value for name, value in random_state(device).items()}


@dataclass(frozen=True)
class Reader:
    """How a worker reads a checkpoint. seed: of the random numbers of workers that the checkpoint does not know."""

    stage: str
    device: str
    seed: int
    topology: Topology = ALONE

    def restore(self, checkpoint: Thing, state: State, expected: Mapping[str, Any]) -> History:
        """Fills `state` in place, sets the random numbers of this worker, and returns the rows so far.

        expected: facts that must be the checkpoint's own (dataset, tokenizer, shape); InputError names the first that is not.
        """
        for name, value in expected.items():
            if checkpoint.facts.get(name) != value:
                raise InputError(
                    f"the checkpoint was made with another {name} ({checkpoint.facts.get(name)}, now {value})",
                    where=checkpoint.uri,
                    mend=f"Start over with --force {self.stage}.",
                )
        share = self.topology.share
        if share < checkpoint.facts.get("shares", 0):
            whole = with_random_state(state, self.device, share)
            _load(checkpoint, whole)
            prefix = f"random.{share}."
            set_random_state({name.removeprefix(prefix): value for name, value in whole.items() if name.startswith(prefix)})
        else:
            _load(checkpoint, state)
            seed(self.seed, checkpoint.facts["step"], share)
        return History.of(checkpoint)


def learnt(model: nn.Module) -> State:
    """What of a model a checkpoint holds: all but the weights that stand still, which the base has."""
    still = {name for name, parameter in model.named_parameters(remove_duplicate=False) if not parameter.requires_grad}
    return {f"model.{name}": value for name, value in model.state_dict().items() if name not in still}


def restore_model(checkpoint: Thing, model: nn.Module) -> None:
    """Fills a model that is made as the one that was trained with the weights of a checkpoint, and leaves the rest of it."""
    _load(checkpoint, learnt(model))


def _load(checkpoint: Thing, state: State) -> None:
    check(checkpoint)
    dcp.load(state, checkpoint_id=checkpoint.folder(), no_dist=not torch.distributed.is_initialized())


def _write(state: State, folder: Path, topology: Topology) -> None:
    try:
        dcp.save(state, checkpoint_id=folder, process_group=topology.group, no_dist=topology.world == 1)
    except CheckpointException as error:  # in all workers, whosever disk it was
        failures = [failure for failure, _ in error.failures.values()]
        if not all(isinstance(failure, OSError) for failure in failures):
            raise
        raise UnsavedError(_words(failures[0]), where=str(folder)) from None


def _together(topology: Topology, part: Callable[[], T]) -> list[T]:
    """What each worker's part gives, by rank; where one cannot write, UnsavedError in all: none waits for one that gave up."""
    mine: tuple[T | None, str, str] = (None, "", "")
    try:
        mine = (part(), "", "")
    except StoreError as error:
        mine = (None, error.what, error.where)
    except OSError as error:
        mine = (None, _words(error), str(error.filename or ""))
    every = topology.gather(mine)
    for _, what, where in every:
        if what:
            raise UnsavedError(what, where=where)
    return [found for found, _, _ in every]  # type: ignore[misc]


def _words(error: BaseException) -> str:
    said = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return said[0].lower() + said[1:]
