"""Many items, one function: the same results in their order wherever it runs, and one bad item harms no other."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest
import ray
from ray import cloudpickle

from infra.cluster import _end_strays, connect
from infra.store.errors import InputError
from infra.tasks import TaskError, run_tasks

JOBS = """
import os, signal, time
from pathlib import Path
from infra.store.errors import InputError

def double(number):
    time.sleep(0.05 * (number % 3))
    return 2 * number

def marked(item):
    path = Path(item)
    with path.with_suffix(".tries").open("a") as file:
        file.write("x")
    return path.name, os.getpid()

def dies_once(item):
    marked(item)
    if item.endswith("bad") and not Path(item).exists():
        Path(item).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Path(item).name

def fails_once(item):
    marked(item)
    if item.endswith("bad") and not Path(item).exists():
        Path(item).touch()
        raise OSError("a disk that was away for a moment")
    return Path(item).name

def fails_always(item):
    marked(item)
    if item.endswith("bad"):
        raise ValueError("no good")
    return item

def is_not_read(item):
    marked(item)
    raise InputError("not readable", where=item, mend="Mend it.")

def environment(name):
    return os.environ.get(name)

def waits(item):
    Path(item).write_text(str(os.getpid()))
    time.sleep(60)
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of functions, as workers import them."""
    (tmp_path / "task_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("task_jobs", None)
    return importlib.import_module("task_jobs")


@pytest.fixture(params=[0, 2])
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def paths(tmp_path: Path, *names: str) -> list[str]:
    return [str(tmp_path / name) for name in names]


def tries(tmp_path: Path) -> dict[str, int]:
    return {path.stem: len(path.read_text()) for path in sorted(tmp_path.glob("*.tries"))}


def test_results_come_in_the_order_of_the_items(jobs: ModuleType, workers: int) -> None:
    told: list[tuple[int, int]] = []
    found = run_tasks(jobs.double, range(7), workers=workers, progress=lambda done, total: told.append((done, total)))
    assert found == [0, 2, 4, 6, 8, 10, 12]
    assert told == [(done, 7) for done in range(1, 8)]
    assert run_tasks(jobs.double, [], workers=workers) == []


def test_processes_are_used_again(jobs: ModuleType, tmp_path: Path) -> None:
    found = run_tasks(jobs.marked, paths(tmp_path, *"abcdef"), workers=2)
    assert [name for name, _ in found] == list("abcdef")
    assert os.getpid() not in {pid for _, pid in found}
    assert len({pid for _, pid in found}) <= 2
    assert not [pid for _, pid in found if psutil.pid_exists(pid)]


def test_an_item_that_failed_once_is_tried_again_alone(jobs: ModuleType, workers: int, tmp_path: Path) -> None:
    assert run_tasks(jobs.fails_once, paths(tmp_path, "a", "bad", "c"), workers=workers) == ["a", "bad", "c"]
    assert tries(tmp_path) == {"a": 1, "bad": 2, "c": 1}


def test_an_item_whose_process_was_killed_is_tried_again_alone(jobs: ModuleType, tmp_path: Path) -> None:
    assert run_tasks(jobs.dies_once, paths(tmp_path, "a", "bad", "c", "d"), workers=2) == ["a", "bad", "c", "d"]
    assert tries(tmp_path) == {"a": 1, "bad": 2, "c": 1, "d": 1}


def test_an_item_that_kills_its_process_each_time_is_named(jobs: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"bad: failed: its process was killed \(signal 9\)") as raised:
        run_tasks(jobs.dies_once, paths(tmp_path, "bad", "a"), workers=2, retries=0)
    assert raised.value.mend == "Run again: what is finished is kept."


def test_an_item_that_keeps_failing_is_named_after_the_others_at_work_are_done(
    jobs: ModuleType, workers: int, tmp_path: Path
) -> None:
    with pytest.raises(TaskError) as raised:
        run_tasks(jobs.fails_always, paths(tmp_path, "bad", "a"), workers=workers, name=lambda item: f"file {Path(item).name}")
    assert raised.value.where == "file bad"
    assert raised.value.what.startswith("failed 2 times (ValueError: no good, task_jobs.py line ")
    assert tries(tmp_path) == {"a": 1, "bad": 2}


def test_what_the_user_has_to_mend_is_said_once_and_not_tried_again(jobs: ModuleType, workers: int, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        run_tasks(jobs.is_not_read, paths(tmp_path, "a"), workers=max(1, workers))
    assert (raised.value.what, raised.value.where, raised.value.mend) == ("not readable", str(tmp_path / "a"), "Mend it.")
    assert tries(tmp_path) == {"a": 1}


def test_processes_see_the_environment_as_it_is_now(jobs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_TEST_VALUE", "first")
    assert run_tasks(jobs.environment, ["SLIPWAY_TEST_VALUE"] * 2, workers=2) == ["first"] * 2
    monkeypatch.setenv("SLIPWAY_TEST_VALUE", "second")
    assert run_tasks(jobs.environment, ["SLIPWAY_TEST_VALUE"] * 2, workers=2) == ["second"] * 2


def test_a_script_that_does_not_guard_its_main_part_runs_once(jobs: ModuleType, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import task_jobs\nfrom infra.tasks import run_tasks\nprint('main', run_tasks(task_jobs.double, [1, 2, 3], workers=2))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("main [2, 4, 6]\n", "")


def test_processes_end_with_the_one_that_started_them(jobs: ModuleType, tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport task_jobs\nfrom infra.tasks import run_tasks\n"
        f"run_tasks(task_jobs.waits, {paths(tmp_path, 'a.pid', 'b.pid')!r}, workers=2)"
    )
    driver = subprocess.Popen([sys.executable, "-c", script])
    pids = [int(written(tmp_path / name)) for name in ("a.pid", "b.pid")]
    processes = [psutil.Process(pid) for pid in pids]
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert not psutil.wait_procs(processes, timeout=20)[1]


def written(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not (path.exists() and (text := path.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return text


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray of our own, shared by the tests here; its workers find the module of jobs."""
    home = tmp_path_factory.mktemp("home")
    with connect(None, cpus=2, home=home):
        yield ray.get_runtime_context().gcs_address
    _end_strays(home / "ray")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_on_ray_it_is_the_same(cluster: str, jobs: ModuleType, tmp_path: Path) -> None:
    cloudpickle.register_pickle_by_value(jobs)  # type: ignore[no-untyped-call]  # in earnest its machines have the module
    try:
        assert run_tasks(jobs.double, range(5), workers=2, address=cluster) == [0, 2, 4, 6, 8]
        names = ["a", "bad", "c"]
        assert run_tasks(jobs.fails_once, paths(tmp_path, *names), workers=2, address=cluster) == names
        assert tries(tmp_path) == {"a": 1, "bad": 2, "c": 1}
        (tmp_path / "bad").unlink()
        assert run_tasks(jobs.dies_once, paths(tmp_path, *names), workers=0, address=cluster) == names
        assert tries(tmp_path) == {"a": 2, "bad": 4, "c": 2}
        (tmp_path / "bad").unlink()
        with pytest.raises(TaskError, match=r"bad: failed: its Ray worker ended"):
            run_tasks(jobs.dies_once, paths(tmp_path, "bad"), workers=0, address=cluster, retries=0)
        with pytest.raises(InputError, match="not readable"):
            run_tasks(jobs.is_not_read, paths(tmp_path, "a"), workers=1, address=cluster)
    finally:
        cloudpickle.unregister_pickle_by_value(jobs)  # type: ignore[no-untyped-call]
