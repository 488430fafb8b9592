"""A Ray of our own comes and goes with the run: no process, no file and no open door is left, however the run ends."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import ray

from infra.cluster import ClusterError, _end_strays, connect
from infra.cluster_tasks import on_a_worker
from infra.store.errors import InputError
from llm.training.numerics import Numerics

RUN = """
import sys, time
from pathlib import Path
import ray
from infra.cluster import connect
with connect(None, cpus=1, home=Path(sys.argv[1])):
    ray.get(ray.remote(lambda: 1).remote())
    print(ray.get_runtime_context().gcs_address, flush=True)
    time.sleep(300)
"""
HEAD = """
import logging, sys
import ray
quiet = {"include_dashboard": False, "logging_level": logging.ERROR}
ray.init(address="local", num_cpus=1, num_gpus=1, object_store_memory=100_000_000, _temp_dir=sys.argv[1], **quiet)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""
TOKEN = "0123456789abcdef" * 4


def folders(home: Path) -> list[Path]:
    """Of the clusters that the home remembers."""
    return [Path("/tmp", record.stem) for record in (home / "ray").glob("*.json")]


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=60)[1]


@pytest.fixture(autouse=True)
def sweep(tmp_path: Path) -> Iterator[None]:
    """Takes away what a next run from the same home would take away: no test's home has one."""
    yield
    _end_strays(tmp_path / "ray")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process in the middle of a run on a cluster of its own, and the cluster's address."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Ray's unix sockets do not fit into a folder of pytest's."""
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_cluster_leaves_no_process_and_no_file_and_gives_the_signals_back(tmp_path: Path) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    others = psutil.Process().children(recursive=True)  # an earlier test may have left Prefect's own server
    for _ in range(2):  # the second one has another token
        with connect(None, cpus=1, home=tmp_path):
            assert ray.get(ray.remote(lambda: "done").remote()) == "done"
            processes = [child for child in psutil.Process().children(recursive=True) if child not in others]
            (folder,) = folders(tmp_path)
            assert len(processes) > 3
            assert (folder / "session_latest").exists()
            assert not [name for name in os.environ if name.startswith("RAY_AUTH")]  # the token is not for what else we start
            assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
        assert gone(processes)
        assert not folder.exists()
        assert folders(tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_logs_of_a_failed_run_stay_until_the_next_one(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), connect(None, cpus=1, home=tmp_path):
        (folder,) = folders(tmp_path)
        raise ZeroDivisionError
    assert (folder / "session_latest" / "logs" / "raylet.out").exists()
    with connect(None, cpus=1, home=tmp_path):
        assert not folder.exists()
        assert len(folders(tmp_path)) == 1


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_ctrl_c_ends_everything_and_prints_nothing_of_rays(running: tuple[subprocess.Popen[str], str], tmp_path: Path) -> None:
    process, _ = running
    processes = psutil.Process(process.pid).children(recursive=True)
    (folder,) = folders(tmp_path)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert output.splitlines()[-1] == "KeyboardInterrupt"
    assert output.startswith("Traceback (most recent call last)")  # the test's own script: what comes before it would be Ray's
    assert gone(processes)
    assert not folder.exists()
    assert folders(tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_next_run_ends_what_a_killed_one_left(running: tuple[subprocess.Popen[str], str], tmp_path: Path) -> None:
    process, _ = running
    processes = psutil.Process(process.pid).children(recursive=True)
    (folder,) = folders(tmp_path)
    process.kill()
    process.wait()
    with connect(None, cpus=1, home=tmp_path):
        assert gone(processes)
        assert not folder.exists()
        assert len(folders(tmp_path)) == 1


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_run_at_work_is_left_alone_and_lets_nobody_else_in(running: tuple[subprocess.Popen[str], str], tmp_path: Path) -> None:
    process, address = running
    processes = psutil.Process(process.pid).children(recursive=True)
    with connect(None, cpus=1, home=tmp_path):
        assert len(folders(tmp_path)) == 2
    assert len(folders(tmp_path)) == 1
    assert all(theirs.is_running() for theirs in processes)
    with pytest.raises(InputError, match="no Ray cluster answers there"), connect(address, cpus=1, home=tmp_path):
        pass


@pytest.fixture
def head(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster that is there already, of one machine that says it has a GPU."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD, str(short_folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.communicate(timeout=20)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_cluster_that_is_there_already_is_used_and_outlives_the_run(head: str, tmp_path: Path) -> None:
    for _ in range(2):
        with connect(head, cpus=1, home=tmp_path):
            assert ray.get(ray.remote(lambda: 7).remote()) == 7
    assert folders(tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_what_a_machine_with_a_gpu_is_asked_a_machine_with_a_gpu_answers(head: str) -> None:
    assert on_a_worker(partial(os.getenv, "CUDA_VISIBLE_DEVICES"), head) == "0"
    assert os.environ.get("CUDA_VISIBLE_DEVICES") != "0"
    with pytest.raises(InputError, match="^training.precision: float8 needs a GPU"):
        on_a_worker(partial(Numerics.decide, "fp8"), head)


@pytest.mark.parametrize("address", ["nonsense", "ray://10.0.0.7:10001", "auto", ":6379", "host:port"])
def test_an_address_that_is_none_is_named(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised, connect(address, cpus=1, home=tmp_path):
        pass
    assert raised.value.where == f"RAY_ADDRESS={address}"
    assert raised.value.what == "that is no address of a Ray cluster"


def test_a_dead_address_is_named_at_once(free_port: int, tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"no Ray cluster answers there \(Connection refused\)"),
        connect(f"127.0.0.1:{free_port}", cpus=1, home=tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_ray_that_does_not_start_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        raise RuntimeError("Failed to start GCS.  Last 0 lines of error files:\n\nand more")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ClusterError) as raised, connect(None, cpus=1, home=tmp_path):
        pass
    (folder,) = folders(tmp_path)
    assert raised.value.where == str(folder)
    assert raised.value.what == "Ray did not start (Failed to start GCS.  Last 0 lines of error files:)"
