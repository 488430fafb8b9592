"""Checkpoints of several workers: whole also where each machine sees its own disk alone."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from infra.store.folder import FolderStore
from infra.store.manifest import Thing, load
from llm.training.checkpoints import Reader
from llm.training.resume import check

SAVE = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
import torch.distributed as dist
from infra.store import open_store
from infra.store.faulty import FaultyStore
from llm.training.checkpoints import Checkpoints, UnsavedError
from llm.training.history import History
from llm.training.topology import Topology
rank, meeting, store, scratch = int(sys.argv[1]), *sys.argv[2:]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
state = {f"model.{n}": torch.full((64, 64), float(n)) for n in range(8)}
checkpoints = Checkpoints(open_store(store), "pretrain-a-1", Path(scratch))
for step in (1, 2, 3):
    print(checkpoints.save(step, state, History(), {"world": 2}, Topology(rank, 2)))
away = FaultyStore(checkpoints.store, at=1) if rank else checkpoints.store
try:
    replace(checkpoints, store=away).save(4, state, History(), {"world": 2}, Topology(rank, 2).beside())
except UnsavedError as error:
    print(error.what)
print(sorted(path.name for path in Path(scratch).rglob("*") if path.is_file()))
dist.destroy_process_group()
"""


@pytest.mark.parametrize("scratch", ["shared", "each its own"])
def test_a_checkpoint_of_two_workers_is_whole_wherever_their_scratch_is(tmp_path: Path, store: FolderStore, scratch: str) -> None:
    folders = [tmp_path / ("scratch" if scratch == "shared" else f"scratch-{rank}") for rank in (0, 1)]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", SAVE, str(rank), str(tmp_path / "meeting"), store.url, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank, folder in enumerate(folders)
    ]
    said = [worker.communicate(timeout=240)[0].splitlines() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert said[0] == said[1]
    assert said[0][-2] == "write 1 fails, as asked", "none waits for the worker whose store was away"
    assert said[0][-1] == "[]", "nothing is left in the scratch"
    whole: Thing = load(store, said[0][2])
    check(whole)
    assert any(name.startswith("__1_") for name in whole.files), "else this test shows nothing"
    state = {f"model.{n}": torch.zeros(64, 64) for n in range(8)}
    Reader("pretrain", "cpu", seed=1).restore(whole, state, {"world": 2})
    assert all(bool((state[f"model.{n}"] == n).all()) for n in range(8))
    assert len({entry.name.split("/")[3] for entry in store.list("runs/pretrain-a-1/checkpoints")}) == 2, "the newest two stay"
