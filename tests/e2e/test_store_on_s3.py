"""The whole lifecycle with its store in a bucket of a real server: nothing of it needs a folder that both ends see."""

import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from infra.processes import marked, stop
from infra.registry import Registry
from infra.store import open_store
from infra.store.protocol import Store
from infra.store.s3 import S3Store
from infra.targets import haproxy
from infra.tracking.client import connect
from tests.e2e.conftest import FAST, Finished, Slipway
from tests.s3_server import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LIFECYCLE = ["run", "lifecycle", "--set", "data.path=text.txt", *FAST]
LONG = [
    "run",
    "pretrain",
    "--set",
    "data.path=text.txt",
    *FAST,
    "--set=training.steps=120",
    "--set=training.checkpoint_every=10",
    "--json",
]
LOAD = """
import json, sys, mlflow
print(json.dumps(mlflow.pyfunc.load_model(sys.argv[1]).predict(["The ship"], params=None)))
"""


@dataclass(frozen=True)
class Harbour:
    """A home, its store in a bucket, and what the first lifecycle said."""

    slipway: Slipway
    store: Store
    first: Finished

    @property
    def tracking(self) -> str:
        return f"sqlite:///{self.slipway.home / 'mlflow.db'}"


def use(patch: pytest.MonkeyPatch, server: S3Server) -> str:
    """Sets the environment to an empty store on this server; returns its URL."""
    server.use(patch)
    url = f"s3://{server.bucket}/{uuid.uuid4().hex[:8]}/store"
    patch.setenv("SLIPWAY_STORE", url)
    return url


@pytest.fixture(scope="module")
def harbour(ceph: S3Server, tmp_path_factory: pytest.TempPathFactory, text: Callable[[Path], Path]) -> Iterator[Harbour]:
    root = tmp_path_factory.mktemp("harbour")
    slipway = Slipway(root / "home", root / "work")
    text(slipway.folder / "text.txt")
    with pytest.MonkeyPatch.context() as patch:
        url = use(patch, ceph)
        first = slipway(*LIFECYCLE, "--json")
        assert first.code == 0, first.err
        yield Harbour(slipway, open_store(url), first)


def test_everything_that_the_lifecycle_leaves_is_in_the_bucket(harbour: Harbour) -> None:
    document = harbour.first.json()
    assert document["model"] == "models:/slipway-tiny/1"
    names = [entry.name for entry in harbour.store.list()]
    run = document["run_id"]
    for name in (
        f"runs/{run}/artifacts/package/manifest.json",
        f"runs/{run}/checkpoints/step-00000012/manifest.json",
        f"runs/{run}/metrics.parquet",
        "ledger/00000001.json",
    ):
        assert name in names
    assert pq.read_table(document["metrics_file"])["step"].to_pylist() == list(range(1, 13)), "a file that can be read here"
    assert not (harbour.slipway.home / "store").exists()
    version = Registry(harbour.tracking).version("models:/slipway-tiny/1")
    assert version.source == harbour.store.uri(f"runs/{run}/artifacts/package"), "registered by reference"
    assert version.aliases == ("champion",)
    assert version.run_id is not None
    tracked = connect(harbour.tracking).get_run(version.run_id)
    assert tracked.info.artifact_uri.startswith(f"{harbour.store.url}/runs/mlflow/")
    assert tracked.data.metrics["loss"] > 0


def test_a_second_run_reuses_everything_also_from_another_machine(harbour: Harbour, tmp_path: Path) -> None:
    second = harbour.slipway(*LIFECYCLE, "--json")
    assert second.code == 0, second.err
    assert {stage["state"] for stage in second.json()["stages"]} == {"reused"}
    elsewhere = Slipway(tmp_path / "elsewhere", harbour.slipway.folder)  # its cache and its MLflow are empty
    pretrained = elsewhere("run", "pretrain", *LIFECYCLE[2:], "--json")
    assert pretrained.code == 0, pretrained.err
    document = pretrained.json()
    assert {stage["state"] for stage in document["stages"]} == {"reused"}
    assert document["run_id"] == harbour.first.json()["run_id"]
    assert Path(document["metrics_file"]).is_relative_to(tmp_path)
    assert pq.read_table(document["metrics_file"]).num_rows == 12


def test_mlflow_loads_the_registered_model_from_the_bucket(harbour: Harbour) -> None:
    env = harbour.slipway.env(MLFLOW_TRACKING_URI=harbour.tracking)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, "models:/slipway-tiny/1"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(answer, str)


def test_every_hash_is_checked_again_in_the_bucket_itself_and_damage_there_is_named(harbour: Harbour) -> None:
    whole = harbour.slipway("explain", "models:/slipway-tiny/1", "--verify", "--json")
    assert whole.code == 0, whole.out + whole.err
    name = f"runs/{harbour.first.json()['run_id']}/artifacts/package/config.json"
    content = harbour.store.read(name)
    harbour.store.write(name, content.replace(b"{", b"{ ", 1))  # the copy on this machine is whole
    try:
        damaged = harbour.slipway("explain", "models:/slipway-tiny/1", "--verify")
        assert damaged.code != 0
        assert "config.json was changed" in damaged.out + damaged.err
    finally:
        harbour.store.write(name, content)


def test_the_champion_is_deployed_from_the_bucket_and_comes_back_without_its_copy(harbour: Harbour) -> None:
    try:
        haproxy.binary()
    except Exception as error:
        pytest.skip(str(error))
    slipway = harbour.slipway
    try:
        deployed = slipway("deploy", "models:/slipway-tiny@champion", "--to", "local", "--json")
        assert deployed.code == 0, deployed.err
        (target,) = slipway("status", "--json").json()["targets"]
        asked = {"model": "slipway-tiny", "prompt": "The ship", "max_tokens": 4, "temperature": 0}
        answer = httpx.post(f"{target['url']}/v1/completions", json=asked, timeout=30)
        assert answer.status_code == 200
        for part in ("blue", "green", "haproxy"):
            stop(marked(f"{slipway.home}:target:local:{part}"), grace=2.0)
        for path in (slipway.home / "cache").rglob("model.safetensors"):
            path.unlink()
        again = slipway("deploy", "models:/slipway-tiny@champion", "--to", "local", "--json")
        assert again.code == 0, again.err
        assert httpx.post(f"{target['url']}/v1/completions", json=asked, timeout=30).json()["choices"] == answer.json()["choices"]
    finally:
        for part in ("blue", "green", "haproxy"):
            stop(marked(f"{slipway.home}:target:local:{part}"), grace=2.0)
    actions = [json.loads(harbour.store.read(entry.name))["action"] for entry in harbour.store.list("ledger")]
    assert actions == ["approve", "deploy"]


def test_what_a_superseded_run_left_is_freed_and_the_lifecycle_reuses_all_that_it_did(harbour: Harbour) -> None:
    slipway = harbour.slipway
    first, second = (slipway("run", "pretrain", *LIFECYCLE[2:], f"--set=training.seed={seed}", "--json") for seed in (2, 3))
    assert (first.code, second.code) == (0, 0), first.err + second.err
    superseded = first.json()["run_id"]
    shown = slipway("store", "gc", "--days", "0", "--json").json()
    assert [thing["name"] for thing in shown["things"]] == [f"runs/{superseded}"]
    freed = slipway("store", "gc", "--days", "0", "--delete", "--json").json()
    assert freed["bytes"] == shown["bytes"] > 100_000
    assert list(harbour.store.list(f"runs/{superseded}")) == []
    again = slipway(*LIFECYCLE, "--json")
    assert again.code == 0, again.err
    assert {stage["state"] for stage in again.json()["stages"]} == {"reused"}
    assert slipway("explain", "models:/slipway-tiny/1", "--verify").code == 0


def test_on_two_ray_workers_the_store_travels_as_its_address(harbour: Harbour) -> None:
    done = harbour.slipway("run", "pretrain", *LIFECYCLE[2:], "--set=training.seed=7", "--set=training.workers=2", "--json")
    assert done.code == 0, done.err
    assert harbour.store.exists(f"runs/{done.json()['run_id']}/checkpoints/step-00000012/manifest.json")
    assert list(harbour.store.list(f"runs/{done.json()['run_id']}/events")) == []


def test_killed_and_started_again_elsewhere_a_run_goes_on_from_the_bucket(
    ceph: S3Server, tmp_path: Path, text: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere: in another home, whose cache is empty. The loss column is that of an undisturbed run."""
    store = open_store(use(monkeypatch, ceph))
    text(tmp_path / "work/text.txt")
    process = Slipway(tmp_path / "one", tmp_path / "work").start(*LONG)
    deadline = time.monotonic() + 240
    while not any(entry.name.endswith("/manifest.json") for entry in store.list("runs") if "/checkpoints/" in entry.name):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = Slipway(tmp_path / "two", tmp_path / "work")(*LONG)
    assert resumed.code == 0, resumed.err
    assert resumed.json()["resumed_from"] > 0
    assert resumed.json()["attempts"] == 2
    use(monkeypatch, ceph)
    undisturbed = Slipway(tmp_path / "three", tmp_path / "work")(*LONG)
    assert undisturbed.code == 0, undisturbed.err
    assert undisturbed.json()["resumed_from"] is None
    columns = [pq.read_table(done.json()["metrics_file"])["loss"].to_pylist() for done in (resumed, undisturbed)]
    assert columns[0] == columns[1]


def test_a_server_whose_conditional_puts_are_not_real_is_refused_before_anything_starts(
    swift: S3Server, slipway: Slipway, text: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(use(monkeypatch, swift))
    text(slipway.folder / "text.txt")
    refused = slipway(*LIFECYCLE, "--json")
    assert refused.code == 2
    error = refused.json()["error"]
    assert "leases and the ledger cannot be kept there" in error["what"]
    assert "SLIPWAY_STORE" in error["mend"]
    assert "Traceback" not in refused.err
    assert isinstance(store, S3Store)
    assert list(store.list()) == []
    assert list(S3Store(store.bucket).list(f"{store.prefix}/.store")) == []
