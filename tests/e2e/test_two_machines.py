"""One training on a Ray cluster of several machines, of which one is cut off and one is lost: its losses tell nothing of it.

The machines are namespaces (`tests/e2e/machines.py`), each with Slipway from the wheel and the commands of docs/cluster.md; the
bucket is on this host, which all of them reach.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra.store import open_store
from infra.store.protocol import Store
from tests import s3_server
from tests.e2e.conftest import FAST
from tests.e2e.machines import PACKAGES, PYTHON, Machine, Network, network
from tests.s3_server import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(900)]
STORE = "s3://slipway/drill"
PRETRAIN = [
    *("slipway", "run", "pretrain", "--json", "--set=data.path=/tmp/text.txt"),
    *FAST,
    *("--set=training.steps=300", "--set=training.checkpoint_every=25", "--set=training.validate_every=0"),
    "--set=training.workers=2",
]
# As docs/cluster.md says: a worker that lost the head ends, and whoever watches over it starts it again.
JOIN = "(while :; do ray start --address $HEAD --node-ip-address $ADDRESS --num-cpus 1 --block; sleep 1; done) >/tmp/ray.log 2>&1 &"
WHERE = """
import json, logging, os, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
def where():
    import llm.training.distributed as found
    return found.__file__
ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level=logging.ERROR)
nodes = {node["NodeManagerHostname"]: node["NodeID"] for node in ray.nodes() if node["Alive"]}
on = {host: NodeAffinitySchedulingStrategy(node, soft=False) for host, node in nodes.items()}
print(json.dumps({host: ray.get(ray.remote(where).options(num_cpus=0, scheduling_strategy=on[host]).remote()) for host in on}))
"""


@dataclass(frozen=True)
class Cluster:
    """Ray's head on the first machine, which also starts the runs; the other machines join it."""

    network: Network
    server: S3Server
    head: Machine

    @property
    def address(self) -> str:
        return f"{self.head.address}:6379"

    def env(self, **more: str) -> dict[str, str]:
        """What docs/cluster.md has everybody set, on each machine."""
        return {
            **self.server.env(),
            "SLIPWAY_STORE": STORE,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
            "RAY_USAGE_STATS_ENABLED": "0",
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": "2",
            # How soon the head takes a machine for dead that says nothing: in seconds, and not after a minute.
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "2000",
            "RAY_health_check_failure_threshold": "3",
            **more,
        }

    def alone(self) -> dict[str, str]:
        """For a run on the first machine by itself, on a cluster of its own."""
        return {name: value for name, value in self.env().items() if not name.startswith("RAY_")}

    def join(self, name: str) -> Machine:
        machine = self.network.machine(name)
        machine.run("sh", "-c", JOIN, env=self.env(HEAD=self.address, ADDRESS=machine.address))
        return machine

    def run(self, *words: str, timeout: float = 300, **env: str) -> "subprocess.CompletedProcess[str]":
        """A command on the first machine."""
        return self.head.run(*words, env=self.env(RAY_ADDRESS=self.address, **env), timeout=timeout)

    def code(self) -> dict[str, str]:
        """Where Ray's workers have our code from, by machine."""
        done = self.run(PYTHON, "-c", WHERE)
        assert done.returncode == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout)
        return found

    def losses(self, out: str) -> list[float]:
        column: list[float] = pq.read_table(self.head.path(json.loads(out)["metrics_file"]))["loss"].to_pylist()
        return column


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, text: Callable[[Path], Path]) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    try:
        with network(folder) as made, s3_server.ceph(folder / "ceph", made.address) as server:
            cluster = Cluster(made, server, made.machine("one"))
            shutil.copy(text(folder / "text.txt"), cluster.head.path("/tmp"))
            start = ("ray", "start", "--head", "--node-ip-address", cluster.head.address, "--port", "6379", "--num-cpus", "1")
            started = cluster.head.run(*start, "--include-dashboard", "false", env=cluster.env())
            assert started.returncode == 0, started.stderr
            yield cluster
    except s3_server.AbsentError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def two(cluster: Cluster) -> Machine:
    machine = cluster.join("two")
    wait(lambda: "two" in cluster.code())
    return machine


@pytest.fixture
def store(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """The bucket, as this process sees it."""
    cluster.server.use(monkeypatch)
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path / "cache"))
    return open_store(STORE)


def wait(condition: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def checkpoint(store: Store) -> int:
    """The step of the newest one."""
    names = [entry.name for entry in store.list("runs") if "/checkpoints/" in entry.name and entry.name.endswith("/manifest.json")]
    return max((int(name.split("/")[-2].removeprefix("step-")) for name in names), default=0)


def trains_on(*machines: Machine) -> bool:
    """Whether each of them, and each once, has a process that trains."""
    return all(len(machine.processes("RayTrainWorker")) == 1 for machine in machines)


def test_a_run_on_two_machines_outlives_one_that_is_cut_off_and_one_that_dies(cluster: Cluster, two: Machine, store: Store) -> None:
    assert cluster.code() == dict.fromkeys(("one", "two"), f"{PACKAGES}/llm/training/distributed.py")
    run = cluster.head.start(*PRETRAIN, env=cluster.env(RAY_ADDRESS=cluster.address))
    try:

        def until(condition: Callable[[], bool]) -> None:
            wait(lambda: condition() or run.poll() is not None)
            assert run.poll() is None, run.communicate()

        until(lambda: checkpoint(store) > 0)
        assert trains_on(cluster.head, two)
        two.cut()
        three = cluster.join("three")
        until(lambda: trains_on(cluster.head, three))
        two.heal()
        cut_at = checkpoint(store)
        until(lambda: checkpoint(store) > cut_at)
        three.kill()
        out, err = run.communicate(timeout=400)
    finally:
        run.kill()
    assert run.returncode == 0, err
    document = json.loads(out)
    assert (document["attempts"], document["resumed_from"]) == (1, None), "one run, which nobody started again"
    undisturbed = cluster.head.run(*PRETRAIN, "--force", "pretrain", env=cluster.alone(), timeout=400)
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert json.loads(undisturbed.stdout)["resumed_from"] is None
    assert cluster.losses(out) == cluster.losses(undisturbed.stdout)


def test_a_machine_with_another_slipway_is_named_before_anything_starts(cluster: Cluster, two: Machine) -> None:
    code = two.path(f"{PACKAGES}/llm/training/loop.py")
    content = code.read_bytes()
    wait(lambda: "two" in cluster.code())
    code.write_bytes(content + b"# of a later version\n")
    try:
        refused = cluster.run(*PRETRAIN, "--force", "pretrain")
    finally:
        code.write_bytes(content)
    assert refused.returncode == 2, refused.stderr
    error = json.loads(refused.stdout)["error"]
    assert error["where"] == "two"
    assert "must run the Slipway that starts the run" in error["what"]
    assert "wheel" in error["mend"]
    assert "Traceback" not in refused.stderr


def test_a_store_that_the_other_machines_do_not_see_is_refused(cluster: Cluster, two: Machine) -> None:
    assert two.processes("raylet")
    refused = cluster.run(*PRETRAIN, SLIPWAY_STORE="/tmp/store")
    assert refused.returncode == 2, refused.stderr
    error = json.loads(refused.stdout)["error"]
    assert error["what"] == "the store is a folder, which the cluster's other machines do not see"
    assert "SLIPWAY_STORE" in error["mend"]
