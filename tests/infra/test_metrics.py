"""The exporter tells Prometheus what the spools say: the newest of each run, read once, and of runs of these days alone."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from infra.metrics import Spools
from infra.tracking.spool import Spool, shipped

RUN = "pretrain-1f2e3d4c5b6a-1"
WRITER = """
import sys
from pathlib import Path
from infra.tracking.spool import Spool
Spool(Path(sys.argv[1]), sys.argv[2]).open("pretrain")
"""


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", RUN)


@pytest.fixture
def registry(tmp_path: Path) -> CollectorRegistry:
    made = CollectorRegistry(auto_describe=False)
    made.register(Spools(tmp_path / "spool"))
    return made


def value(registry: CollectorRegistry, name: str, run: str = RUN, **labels: str) -> float | None:
    return registry.get_sample_value(name, {"run": run, "stage": "pretrain", **labels})


def step(spool: Spool, number: int, **more: float) -> None:
    spool.metrics(number, {"loss": 5.0 - number, "tokens_per_second": 1e5, "tokens_seen": 4096.0 * number, **more})


def test_the_newest_values_of_a_run_are_there_with_its_labels(spool: Spool, registry: CollectorRegistry) -> None:
    spool.open("pretrain")
    assert value(registry, "slipway_training_open") == 1
    assert value(registry, "slipway_training_loss") is None, "there is none yet, and none is made up"
    spool.tags({"slipway.steps": "12"})
    step(spool, 1)
    spool.metrics(1, {"validation_loss": 4.5, "validation_bits_per_byte": 2.5})
    step(spool, 2, mfu=0.4, warmth=3.0)
    expected = {
        "slipway_training_loss": 3.0,
        "slipway_training_tokens_per_second": 1e5,
        "slipway_training_tokens_total": 8192.0,
        "slipway_training_step": 2.0,
        "slipway_training_steps": 12.0,
        "slipway_training_mfu_ratio": 0.4,
        "slipway_training_validation_loss": 4.5,
        "slipway_training_validation_bits_per_byte": 2.5,
        "slipway_training_resumes_total": 0.0,
        "slipway_training_failed": 0.0,
    }
    assert {name: value(registry, name) for name in expected} == expected
    assert value(registry, "slipway_training_value", value="warmth") == 3.0
    age = value(registry, "slipway_training_step_age_seconds")
    assert age is not None
    assert 0 <= age < 30


def test_a_step_counts_once_its_line_is_whole(spool: Spool, registry: CollectorRegistry) -> None:
    spool.open("pretrain")
    step(spool, 1)
    line = json.dumps({"kind": "metrics", "time": time.time(), "step": 2, "values": {"loss": 3.0}}) + "\n"
    for written, expected in ((line[:20], 4.0), (line[20:-1], 4.0), (line[-1:], 3.0)):
        with spool.path.open("a") as file:
            file.write(written)
        assert value(registry, "slipway_training_loss") == expected


def test_what_was_read_is_not_read_again(spool: Spool, registry: CollectorRegistry) -> None:
    spool.open("pretrain")
    spool.metrics(1, {"validation_loss": 4.5})
    assert value(registry, "slipway_training_validation_loss") == 4.5
    spool.path.write_bytes(spool.path.read_bytes().replace(b"4.5", b"9.9"))
    step(spool, 2)
    assert value(registry, "slipway_training_validation_loss") == 4.5
    assert value(registry, "slipway_training_step") == 2


def test_a_run_that_resumed_says_how_often(spool: Spool, registry: CollectorRegistry) -> None:
    spool.open("pretrain")
    for number in (1, 2):
        spool.tags({"slipway.resumed_from": f"runs/{RUN}/checkpoints/step-{number:08d}"})
    spool.tags({"slipway.restarts": "3", "slipway.rollbacks": "1"})
    expected = {"resumes": 2, "restarts": 3, "rollbacks": 1}
    assert {what: value(registry, f"slipway_training_{what}_total") for what in expected} == expected


@pytest.mark.parametrize(("status", "failed"), [("FINISHED", 0), ("FAILED", 1), ("KILLED", 1)])
def test_a_run_that_ended_is_not_open_and_has_failed_or_not(
    spool: Spool, registry: CollectorRegistry, status: str, failed: int
) -> None:
    spool.open("pretrain")
    step(spool, 1)
    spool.close(status)  # type: ignore[arg-type]  # each is one
    assert value(registry, "slipway_training_open") == 0
    assert value(registry, "slipway_training_failed") == failed
    assert value(registry, "slipway_training_step_age_seconds") is None
    assert value(registry, "slipway_training_loss") == 4.0


def test_a_run_whose_process_was_killed_is_not_open(tmp_path: Path, registry: CollectorRegistry) -> None:
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path / "spool"), RUN], check=True)
    assert value(registry, "slipway_training_open") == 0
    assert value(registry, "slipway_training_failed") == 1


def test_what_was_not_shipped_yet_is_told_in_bytes_and_seconds(spool: Spool, registry: CollectorRegistry) -> None:
    spool.open("pretrain")
    size = spool.path.stat().st_size
    state = shipped(spool.path)
    state.offset, state.last_time = size, time.time() - 100
    state.refused = ["metric warmth: no"]
    state.save(spool.path)
    assert value(registry, "slipway_spool_unshipped_bytes") == 0
    step(spool, 1)
    assert value(registry, "slipway_spool_unshipped_bytes") == spool.path.stat().st_size - size > 0
    lag = value(registry, "slipway_spool_lag_seconds")
    assert lag is not None
    assert 99 < lag < 200
    assert value(registry, "slipway_spool_refusals_total") == 1
    state.complete = True
    state.save(spool.path)
    assert value(registry, "slipway_spool_unshipped_bytes") == value(registry, "slipway_spool_lag_seconds") == 0


def test_runs_of_long_ago_are_left_out_and_so_is_what_is_no_spool(
    spool: Spool, registry: CollectorRegistry, tmp_path: Path
) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool/notes.jsonl").write_bytes(b'{"kind": "opened", "time": "yesterday"}\n\xff\n[]\n')
    old = Spool(tmp_path / "spool", "pretrain-0-1")
    for each in (spool, old):
        each.open("pretrain")
        step(each, 1)
    os.utime(old.path, (0, time.time() - 3 * 86_400))
    assert value(registry, "slipway_training_loss", run=RUN) == 4.0
    assert value(registry, "slipway_training_loss", run="pretrain-0-1") is None


def test_a_spool_that_was_replaced_is_read_from_its_start(spool: Spool, registry: CollectorRegistry) -> None:
    spool.open("pretrain")
    for number in range(1, 5):
        step(spool, number)
    assert value(registry, "slipway_training_step") == 4
    spool.path.unlink()
    again = Spool(spool.path.parent, RUN)
    again.open("pretrain")
    step(again, 1)
    assert value(registry, "slipway_training_step") == 1


def test_the_exporter_answers_on_loopback_alone_and_says_when_it_cannot(spool: Spool, free_port: int) -> None:
    spool.open("pretrain")
    step(spool, 1)
    command = [sys.executable, "-m", "infra.metrics", "--port", str(free_port)]
    env = os.environ | {"SLIPWAY_HOME": str(spool.path.parent.parent)}
    process = subprocess.Popen(command, env=env)
    try:
        text = scraped(free_port, process)
        families = {family.name: family for family in text_string_to_metric_families(text)}
        assert families["slipway_training_loss"].samples[0].value == 4.0
        second = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert second.returncode == 2
        assert f"127.0.0.1:{free_port}" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        process.terminate()
        process.wait()


def scraped(port: int, process: "subprocess.Popen[bytes]") -> str:
    """What it says, as soon as it does."""
    while True:
        assert process.poll() is None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.URLError:
            time.sleep(0.05)
