"""A gathering that is killed loses at most the parts at work: the next goes on, and gives the bytes of an undisturbed one."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.store.errors import StoreError
from infra.store.faulty import Died, Fault, FaultyStore
from infra.store.folder import FolderStore
from tests.llm.data.gathering.sources import gathered, write_source, written

FEW_PARTS = 12_000
SCRIPT = """
import sys, time
from functools import partial
from pathlib import Path
from infra.store.folder import FolderStore
from infra.tasks import run_tasks
from tests.llm.data.gathering.sources import gathered

def watch(documents):
    for number, document in enumerate(documents):
        print("passage", number, flush=True)
        time.sleep(0.005)  # so that a kill meets it in the middle
        yield document

source, store, folder, workers = sys.argv[1:]
run = partial(run_tasks, workers=int(workers)) if int(workers) else None
print("begun", flush=True)
gathered(Path(source), FolderStore(Path(store)), Path(folder), run=run, watch=watch,
         observe=lambda event: print(getattr(event, "what", "note"), getattr(event, "done", 0), flush=True))
print("done", flush=True)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "source")


@pytest.fixture
def undisturbed(source: Path, tmp_path: Path) -> dict[str, str]:
    gathered(source, FolderStore(tmp_path / "undisturbed"), tmp_path / "whole")
    return written(tmp_path / "whole")


def parts(store: FolderStore) -> set[str]:
    return {entry.name for entry in store.list("parts") if entry.name.endswith("manifest.json")}


@pytest.mark.parametrize("fault", list(Fault))
def test_at_whichever_write_it_ends_the_next_one_goes_on(source: Path, tmp_path: Path, fault: Fault) -> None:
    whole = FaultyStore(FolderStore(tmp_path / "whole"))
    gathered(source, whole, tmp_path / "undisturbed", part_bytes=FEW_PARTS)
    for at in range(1, whole.writes + 1):
        inner = FolderStore(tmp_path / f"store{at}")
        with pytest.raises((Died, StoreError)):
            gathered(source, FaultyStore(inner, at=at, fault=fault), tmp_path / f"killed{at}", part_bytes=FEW_PARTS)
        finished = len(parts(inner))
        again = FaultyStore(inner)
        gathered(source, again, tmp_path / f"again{at}", part_bytes=FEW_PARTS)
        assert written(tmp_path / f"again{at}") == written(tmp_path / "undisturbed")
        assert again.writes == whole.writes * (1 - finished / len(parts(FolderStore(tmp_path / "whole"))))
        assert not [path for path in (tmp_path / f"again{at}" / "parts").iterdir() if path.name.startswith("part-")]


@pytest.mark.parametrize(
    ("moment", "workers"),
    [
        ("cleaning 4", 2),
        ("passage 30", 0),
        *(
            pytest.param(moment, workers, marks=pytest.mark.slow)
            for moment in ("begun", "cleaning 1", "cleaning 7", "passage 0", "passage 57", "done")
            for workers in (0, 2)
        ),
    ],
)
def test_killed_at_any_moment_it_goes_on(
    source: Path, undisturbed: dict[str, str], tmp_path: Path, moment: str, workers: int
) -> None:
    store, folder = FolderStore(tmp_path / "store"), tmp_path / "killed"
    run_until(moment, source, store, folder, workers)
    before = parts(store)
    assert len(before) >= int(moment.split()[1]) if moment.startswith("cleaning") else before or moment == "begun"
    gathered(source, store, tmp_path / "again")
    assert before <= parts(store)
    assert written(tmp_path / "again") == undisturbed


@pytest.mark.slow
def test_killed_again_and_again_it_comes_to_an_end(source: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    for attempt, moment in enumerate(("cleaning 1", "cleaning 3", "passage 5", "passage 50")):
        run_until(moment, source, store, tmp_path / f"killed{attempt}", 2)
    gathered(source, store, tmp_path / "again")
    assert written(tmp_path / "again") == undisturbed


def run_until(moment: str, source: Path, store: FolderStore, folder: Path, workers: int) -> None:
    """Gathers in a process of its own and kills it -9 at the moment it tells of."""
    command = [sys.executable, "-c", SCRIPT, str(source), store.url, str(folder), str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[4])
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == moment:
            process.send_signal(signal.SIGKILL)
            break
    else:
        pytest.fail(f"it never came to {moment!r}")
    process.wait()
    process.stdout.close()


def test_what_changed_meanwhile_is_not_taken_for_what_was_done(source: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    first = gathered(source, store, tmp_path / "first")
    known = parts(store)
    (source / "1.jsonl").write_text((source / "0.jsonl").read_text())
    second = gathered(source, store, tmp_path / "second")
    assert second.rejected["exact-duplicate"] == first.rejected["exact-duplicate"] + 17
    assert known < parts(store)
