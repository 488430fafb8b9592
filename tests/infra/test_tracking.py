"""Tracking by a spool: training never waits for MLflow, and what it said arrives once, whoever dies in between."""

import multiprocessing
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pynvml
import pytest

from infra.store import open_store
from infra.store.errors import InputError
from infra.tracking.client import TrackingError, connect, shown
from infra.tracking.runs import ensure_run
from infra.tracking.ship import follow, ship_now, start_shipper
from infra.tracking.spool import Spool, pending, records, shipped
from infra.tracking.system import Sampler
from tests.s3_server import S3Server

if TYPE_CHECKING:
    from mlflow.entities import Run

RUN = "pretrain-1f2e3d4c5b6a-1"
FORK = multiprocessing.get_context("fork")  # a process that has MLflow loaded already: saves 5 s each


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An MLflow database, migrated once for all tests here; its name has a space."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('ml flow')}/mlflow.db"
    connect(uri)
    return uri


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return str(tmp_path / "the store")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", RUN)


def mlflow_run(uri: str, run_id: str | None) -> "Run":
    assert run_id is not None
    return connect(uri).get_run(run_id)


def history(uri: str, run_id: str | None, key: str) -> list[tuple[int, float]]:
    """Every stored value of a metric, doubles too, in order of steps."""
    assert run_id is not None
    return sorted((metric.step, metric.value) for metric in connect(uri).get_metric_history(run_id, key))


def metric_rows(uri: str) -> int:
    """How many metric rows the database holds just now."""
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as connection:
        return int(connection.execute("select count(*) from metrics").fetchone()[0])


def a_run(spool: Spool, steps: int, status: str | None = "FINISHED") -> None:
    spool.open("pretrain", tags={"recipe": "tiny"}, params={"training.steps": str(steps)})
    for step in range(1, steps + 1):
        spool.metrics(step, {"loss": 10.0 / step, "gradient_norm": float(step)})
    if status == "FINISHED":
        spool.close()


def test_a_run_arrives_whole_with_its_parameters_times_and_status(
    spool: Spool, database: str, store_url: str, tmp_path: Path
) -> None:
    picture = tmp_path / "loss.png"
    picture.write_bytes(b"a picture")
    before = time.time()
    spool.open("pretrain", tags={"recipe": "tiny"}, params={f"p{i}": "x" * 7_000 for i in range(150)})
    for step in range(1, 1_501):
        spool.metrics(step, {"loss": 10.0 / step, "gradient_norm": float(step)})
    spool.tags({"slipway.resumed_from": "step-3"})
    spool.artifact(picture, "plots")
    spool.close()
    state = ship_now(spool.path, database, store_url)
    assert (state.complete, state.refused, state.trouble) == (True, [], "")
    assert history(database, state.mlflow_run_id, "loss") == [(step, 10.0 / step) for step in range(1, 1_501)]
    run = mlflow_run(database, state.mlflow_run_id)
    assert run.info.status == "FINISHED"
    assert before * 1000 - 1 <= run.info.start_time <= run.info.end_time <= time.time() * 1000
    assert run.data.tags["recipe"] == "tiny"
    assert run.data.tags["slipway.resumed_from"] == "step-3"
    assert run.data.tags["slipway.run"] == run.info.run_name == RUN
    assert len(run.data.params) == 150
    assert run.data.params["p149"] == "x" * 5_999 + "…"
    assert (Path(store_url) / "runs" / RUN / "artifacts/plots/loss.png").read_bytes() == b"a picture"


def test_what_a_run_in_a_bucket_left_to_look_at_shows_in_mlflow(
    spool: Spool, database: str, tmp_path: Path, swift: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    swift.use(monkeypatch)
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path / "cache"))
    store = open_store(f"s3://{swift.bucket}/tracked/store")
    store.write(f"runs/{RUN}/artifacts/loss-curve.png", b"a picture")
    store.write(f"runs/{RUN}/artifacts/metrics.parquet", b"a table")
    store.write(f"runs/{RUN}/artifacts/package/config.json", b"{}")
    store.write(f"runs/{RUN}/artifacts/package/model.safetensors", b"weights")
    spool.open("in a bucket")
    spool.metrics(1, {"loss": 1.0})
    spool.close()
    state = ship_now(spool.path, database, store.url)
    assert (state.complete, state.refused, state.trouble) == (True, [], "")
    assert state.mlflow_run_id is not None
    client = connect(database)
    assert mlflow_run(database, state.mlflow_run_id).info.artifact_uri.startswith(f"{store.url}/runs/mlflow/")
    shown = [each.path for folder in ("", "package") for each in client.list_artifacts(state.mlflow_run_id, folder or None)]
    assert shown == ["loss-curve.png", "metrics.parquet", "package", "package/config.json"]


def test_the_spool_costs_microseconds_and_loads_nothing_heavy(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from infra.tracking.ship import follow, ship_now, start_shipper
from infra.tracking.spool import Spool
import infra.registry, infra.tracking.runs
spool = Spool(Path(sys.argv[1]), "pretrain-1")
spool.open("pretrain")
start = time.process_time()
for step in range(2000):
    spool.metrics(step, {"loss": 1.0, "learning_rate": 1e-3, "gradient_norm": 1.0, "tokens_per_second": 1e5})
seconds = time.process_time() - start
heavy = [name for name in ("mlflow", "pandas", "numpy", "torch", "pyarrow", "prefect", "ray") if name in sys.modules]
print(seconds / 2000 * 1e6, *heavy)
"""
    answer = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True).stdout.split()
    assert answer[1:] == []
    assert float(answer[0]) < 200  # microseconds a step; 10 to 15 on a quiet machine


def test_a_disk_that_stays_full_warns_and_says_what_was_lost(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    spool.path.parent.mkdir()
    spool.path.symlink_to("/dev/full")
    a_run(spool, 5)
    assert [record.message for record in caplog.records] == [
        f"{spool.path} cannot be written (No space left on device): what MLflow is to hear waits in memory; training goes on",
        f"{spool.path} could not be written to the end: MLflow lacks 7 records of this run",
    ]


def test_what_a_full_disk_did_not_take_is_written_in_order_once_there_is_room(spool: Spool) -> None:
    spool.open("pretrain")
    spool.metrics(1, {"loss": 3.0})
    full = spool.path.stat().st_size + 40  # so that the disk is full within a line
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (full, before[1]))
    try:
        for step in (2, 3, 4):
            spool.metrics(step, {"loss": 3.0 - step / 10})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert spool.path.stat().st_size == full
    spool.metrics(5, {"loss": 2.0})
    spool.close()
    told = [(record["kind"], record.get("step")) for record, _ in records(spool.path)]
    assert told == [("opened", None), *(("metrics", step) for step in (1, 2, 3, 4, 5)), ("closed", None)]


def test_a_line_cut_off_by_a_kill_costs_only_itself(spool: Spool, tmp_path: Path) -> None:
    spool.open("pretrain")
    spool.metrics(1, {"loss": 3.0})
    with spool.path.open("ab") as file:
        file.write(b'{"kind": "metrics", "step": 2, "val')
    assert [record["kind"] for record, _ in records(spool.path)] == ["opened", "metrics"]
    Spool(tmp_path / "spool", RUN).metrics(3, {"loss": 2.0})
    assert [record.get("step") for record, _ in records(spool.path)] == [None, 1, 3]


def test_a_run_id_never_leaves_the_spool_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run's id"):
        Spool(tmp_path, "../pretrain-1")


def test_what_was_in_doubt_after_a_crash_is_not_doubled(spool: Spool, database: str, store_url: str) -> None:
    a_run(spool, 300)
    first = ship_now(spool.path, database, store_url)
    note = spool.path.with_name(f"{RUN}.shipped.json")
    assert "sqlite" not in note.read_text()  # an address may carry a password
    note.unlink()  # as if every call had arrived and no note of it had been written
    again = ship_now(spool.path, database, store_url)
    assert again.mlflow_run_id == first.mlflow_run_id
    assert again.complete
    assert len(history(database, again.mlflow_run_id, "loss")) == 300
    note.write_text('{"run": "half a no')
    assert ship_now(spool.path, database, store_url).mlflow_run_id == first.mlflow_run_id


def test_a_shipper_killed_in_the_middle_loses_and_doubles_nothing(spool: Spool, database: str, store_url: str) -> None:
    steps = 8_000
    a_run(spool, steps)
    already = metric_rows(database)
    shipper = FORK.Process(target=follow, args=(spool.path, database, store_url), daemon=True)
    shipper.start()
    wait_for(lambda: metric_rows(database) >= already + 2_000)
    shipper.kill()
    shipper.join()
    assert 0 < shipped(spool.path).offset < spool.path.stat().st_size, "the kill came too early or too late to show anything"
    assert pending(spool.path.parent) == [spool.path]
    state = ship_now(spool.path, database, store_url, timeout=120)
    assert state.complete
    assert history(database, state.mlflow_run_id, "loss") == [(step, 10.0 / step) for step in range(1, steps + 1)]
    assert metric_rows(database) == already + 2 * steps
    assert pending(spool.path.parent) == []


@pytest.mark.slow
def test_the_shipping_command_ships_in_silence_and_ends_by_itself(spool: Spool, tmp_path: Path, store_url: str) -> None:
    a_run(spool, 100)
    uri = f"sqlite:///{tmp_path}/fresh.db"
    assert start_shipper(spool.path, uri, store_url).wait(timeout=180) == 0
    assert shipped(spool.path).complete
    assert len(history(uri, shipped(spool.path).mlflow_run_id, "loss")) == 100
    assert (spool.path.parent / "ship.log").read_text() == ""


def test_a_server_that_is_down_holds_nothing_up_and_gets_everything_later(
    spool: Spool, database: str, store_url: str, free_port: int
) -> None:
    a_run(spool, 10)
    start = time.monotonic()
    state = ship_now(spool.path, f"http://someone:secret@127.0.0.1:{free_port}", store_url)
    assert time.monotonic() - start < 5
    assert not state.complete
    assert "cannot be reached" in state.trouble
    assert "secret" not in state.trouble
    assert pending(spool.path.parent) == [spool.path]
    state = ship_now(spool.path, database, store_url)
    assert state.complete
    assert len(history(database, state.mlflow_run_id, "loss")) == 10


def test_a_shipper_follows_a_run_and_marks_it_killed_when_its_process_is_gone(
    tmp_path: Path, database: str, store_url: str
) -> None:
    code = "import sys; from pathlib import Path; from infra.tracking.spool import Spool\n"
    code += "s = Spool(Path(sys.argv[1]), sys.argv[2])\n"
    code += "s.open('pretrain'); s.metrics(1, {'loss': 3.0}); print('open', flush=True); sys.stdin.readline()\n"
    code += "s.metrics(2, {'loss': 2.0}); print('said', flush=True); sys.stdin.readline()"
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "spool"), RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    assert writer.stdout.readline() == "open\n"
    path = tmp_path / "spool" / f"{RUN}.jsonl"
    shipper = FORK.Process(target=follow, args=(path, database, store_url), daemon=True)
    shipper.start()
    wait_for(lambda: shipped(path).last_time > 0 and shipped(path).offset == path.stat().st_size)
    assert mlflow_run(database, shipped(path).mlflow_run_id).info.status == "RUNNING"
    writer.stdin.write("\n")
    writer.stdin.flush()
    assert writer.stdout.readline() == "said\n"
    writer.kill()
    writer.wait()
    shipper.join(timeout=30)
    assert shipper.exitcode == 0
    state = shipped(path)
    assert mlflow_run(database, state.mlflow_run_id).info.status == "KILLED"
    assert history(database, state.mlflow_run_id, "loss") == [(1, 3.0), (2, 2.0)]
    assert state.complete


@pytest.mark.slow
def test_two_processes_that_find_a_fresh_database_both_get_it(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/fresh/mlflow.db"
    processes = [FORK.Process(target=connect, args=(uri,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=90)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [experiment.name for experiment in connect(uri).search_experiments()] == ["Default"]


def test_a_metric_that_mlflow_refuses_does_not_cost_its_neighbours(spool: Spool, database: str, store_url: str) -> None:
    spool.open("pretrain")
    for step in range(5):
        spool.metrics(step, {"loss": 1.0, "a name, that MLflow does not take!": 1.0})
    spool.metrics(5, {"loss": float("nan")})
    spool.close()
    state = ship_now(spool.path, database, store_url)
    assert state.complete
    assert [step for step, _ in history(database, state.mlflow_run_id, "loss")] == [0, 1, 2, 3, 4, 5]
    assert len(state.refused) == 5
    assert "a name, that MLflow does not take!" in state.refused[0]


def test_a_run_deleted_by_a_person_stays_deleted_and_stops_the_shipping(spool: Spool, database: str, store_url: str) -> None:
    a_run(spool, 3, status=None)
    state = ship_now(spool.path, database, store_url)
    assert state.mlflow_run_id is not None
    connect(database).delete_run(state.mlflow_run_id)
    spool.metrics(4, {"loss": 1.0})
    assert ship_now(spool.path, database, store_url).complete
    assert mlflow_run(database, state.mlflow_run_id).info.lifecycle_stage == "deleted"
    assert len(history(database, state.mlflow_run_id, "loss")) == 3


def test_another_mlflow_gets_the_run_from_its_first_line(spool: Spool, database: str, store_url: str, tmp_path: Path) -> None:
    a_run(spool, 3)
    first = ship_now(spool.path, database, store_url)
    other = f"sqlite:///{tmp_path}/other.db"
    second = ship_now(spool.path, other, store_url)
    assert second.mlflow_run_id != first.mlflow_run_id
    assert len(history(other, second.mlflow_run_id, "loss")) == 3


def test_a_run_registered_before_it_was_shipped_is_one_run_not_two(spool: Spool, database: str, store_url: str) -> None:
    a_run(spool, 3)
    bare = ensure_run(database, RUN, store_url, experiment="pretrain")
    assert ship_now(spool.path, database, store_url).mlflow_run_id == bare
    assert ensure_run(database, RUN, store_url, experiment="pretrain") == bare
    assert len(history(database, bare, "loss")) == 3


def test_a_deleted_experiment_comes_back_for_a_new_run(spool: Spool, tmp_path: Path, database: str, store_url: str) -> None:
    first = Spool(tmp_path / "spool", "thrown-away-1")
    first.open("thrown away")
    first.close()
    run_id = ship_now(first.path, database, store_url).mlflow_run_id
    connect(database).delete_experiment(mlflow_run(database, run_id).info.experiment_id)
    spool.open("thrown away")
    spool.close()
    state = ship_now(spool.path, database, store_url)
    assert mlflow_run(database, state.mlflow_run_id).info.status == "FINISHED"


def test_a_database_of_another_mlflow_is_named_with_its_mend(tmp_path: Path, database: str) -> None:
    copy = tmp_path / "old.db"
    copy.write_bytes(Path(database.removeprefix("sqlite:///")).read_bytes())
    with sqlite3.connect(copy) as connection:
        connection.execute("update alembic_version set version_num = '0000'")
    with pytest.raises(TrackingError, match="mlflow db upgrade"):
        connect(f"sqlite:///{copy}")


def test_a_password_in_the_address_is_never_shown() -> None:
    assert shown("postgresql://someone:secret@db:5432/mlflow") == "postgresql://db:5432/mlflow"
    assert shown("sqlite:////home/a@b/mlflow.db") == "sqlite:////home/a@b/mlflow.db"


def wait_for(condition: Callable[[], bool], seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_what_is_kept_for_later_attempts_and_steps_that_are_not_drawn_stay_in_the_spool(
    spool: Spool, database: str, store_url: str
) -> None:
    spool.open("pretrain")
    for step in range(1, 11):
        spool.metrics(step, {"loss": 1.0 / step}, shown=step % 5 == 0, made={"tokens": 32})
        spool.keep("step", step=step)
    assert ship_now(spool.path, database, store_url).offset == spool.path.stat().st_size, "nothing of it waits to be shipped"
    spool.close()
    state = ship_now(spool.path, database, store_url)
    assert (state.complete, state.refused) == (True, [])
    assert history(database, state.mlflow_run_id, "loss") == [(5, 0.2), (10, 0.1)]


def test_the_machine_is_sampled_into_the_spool_at_least_once(spool: Spool, database: str, store_url: str) -> None:
    spool.open("pretrain")
    with Sampler(spool):
        pass
    spool.close()
    state = ship_now(spool.path, database, store_url)
    told = mlflow_run(database, state.mlflow_run_id).data.metrics
    assert 10 < told["system/process_memory_megabytes"] < told["system/system_memory_usage_megabytes"]
    assert 0 < told["system/system_memory_usage_percentage"] < 100
    assert 0 <= told["system/cpu_utilization_percentage"] <= 100
    assert not [name for name in told if "gpu" in name] or Path("/dev/nvidia0").exists()


def test_what_a_gpu_tells_is_sampled_and_what_it_does_not_tell_is_left_out(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def says(value: Any) -> Callable[..., Any]:
        return lambda *_: value

    def refuses(*_: Any) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    answers = {"Init": says(None), "DeviceGetCount": says(1), "DeviceGetHandleByIndex": says("gpu"), "DeviceGetPowerUsage": refuses}
    answers["DeviceGetUtilizationRates"] = says(SimpleNamespace(gpu=97))
    answers["DeviceGetMemoryInfo"] = says(SimpleNamespace(used=5e9))
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, f"nvml{name}", answer)
    spool.open("pretrain")
    with Sampler(spool):
        pass
    spool.close()
    (values,) = (record["values"] for record, _ in records(spool.path) if record["kind"] == "metrics")
    told = {name: value for name, value in values.items() if "gpu" in name}
    assert told == {"system/gpu_0_utilization_percentage": 97, "system/gpu_0_memory_usage_megabytes": 5000}
