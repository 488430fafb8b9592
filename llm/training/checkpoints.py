"""Checkpoints: torch's distributed format, which reshards, in folders that are whole once their manifest is there."""

import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn

from infra.store.errors import InputError
from infra.store.manifest import Thing, describe, publish
from infra.store.protocol import Store
from llm.training.history import FILE, History
from llm.training.resume import finished, remove
from llm.training.topology import ALONE, Topology


@dataclass(frozen=True)
class Checkpoints:
    """Those of one run, under `runs/<id>/checkpoints/step-<n>/`; the newest `keep` stay."""

    store: Store
    run: str
    scratch: Path
    keep: int = 2

    def save(
        self, step: int, state: dict[str, Tensor], history: History, facts: Mapping[str, Any], topology: Topology = ALONE
    ) -> str:
        """Every worker calls it with its state, and returns the checkpoint's name in the store.

        Workers on other machines have a scratch of their own: each puts the files that it wrote, and the first one publishes.
        """
        name = f"runs/{self.run}/checkpoints/step-{step:08d}"
        folder = self.scratch / f"step-{step:08d}"
        _quietly(dcp.save, state, checkpoint_id=folder, no_dist=topology.world == 1)
        others = topology.gather({} if topology.leads else self._put(name, folder, f"__{topology.rank}_*"))
        if topology.leads:
            history.write(folder / FILE)
            beside = {file: entry for files in others for file, entry in files.items()}
            publish(self.store, name, folder, {**facts, "step": step}, beside=beside)
            self._remove_old()
        topology.wait()
        shutil.rmtree(folder, ignore_errors=True)
        return name

    def _put(self, name: str, folder: Path, pattern: str) -> dict[str, dict[str, Any]]:
        """Moves files of a checkpoint into the store, which nobody sees before its manifest; returns what they are."""
        files = describe(folder, pattern)
        for file in files:
            self.store.put_file(f"{name}/{file}", folder / file)
        return files

    def _remove_old(self) -> None:
        names = list(finished(self.store, [self.run]))
        for name in names[: -self.keep]:
            remove(self.store, name)


def restore(checkpoint: Thing, state: dict[str, Tensor], expected: Mapping[str, Any], stage: str) -> History:
    """Fills `state` in place and returns the rows so far.

    expected: facts that must be the checkpoint's own (dataset, tokenizer, shape); InputError names the first that is not.
    stage: whose checkpoint it is, for that error.
    """
    for name, value in expected.items():
        if checkpoint.facts.get(name) != value:
            raise InputError(
                f"the checkpoint was made with another {name} ({checkpoint.facts.get(name)}, now {value})",
                where=checkpoint.uri,
                mend=f"Start over with --force {stage}.",
            )
    _quietly(dcp.load, state, checkpoint_id=checkpoint.folder(), no_dist=not torch.distributed.is_initialized())
    return History.of(checkpoint)


def restore_model(checkpoint: Thing, model: nn.Module) -> None:
    """Fills a model with the weights of a checkpoint, and leaves the rest of it."""
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    _quietly(dcp.load, state, checkpoint_id=checkpoint.folder(), no_dist=not torch.distributed.is_initialized())


def _quietly(action: Any, state: dict[str, Tensor], **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns on every call that one process is alone, which is meant
        action(state, **options)
