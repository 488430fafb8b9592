"""The training board shows what is really exported: every metric, every label, every query, on a real Prometheus."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from flows.tracking import Curve
from infra import processes
from infra.metrics import Spools
from infra.tracking.spool import Spool
from llm.events import RolledBack, Skipped, StepDone, Validated
from tests.board import PROMETHEUS, ROOT, Query, ask, board, queries, wait_for

RUN = "pretrain-1f2e3d4c5b6a-1"
PROVISIONING = ROOT / "dashboards/grafana/provisioning"
OTHERS = ("ray_", "SeaweedFS_", "up")
"""What others export: Ray's names are looked up in its source below, the rest in the drill of the cluster."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one run, as training tells of it."""
    home = tmp_path_factory.mktemp("home")
    spool = Spool(home / "spool", RUN)
    spool.open("pretrain")
    tell = Curve(spool, str(home / "store"))
    for step in range(1, 6):
        tell(StepDone(step, 9, 10.0 - step, 32, 32 * step, 1e-3, 0.5, 0.01, memory_bytes=1_000, mfu=0.4))
    tell(Validated(5, 5.0, "bits_per_byte", 2.5))
    tell(Validated(5, 5.0, "accuracy", 0.5))
    tell(Skipped(6, "its loss is not finite"))
    tell(RolledBack(4, 5, 6, "its loss was far from those before it"))
    spool.metrics(0, {"system/cpu_utilization_percentage": 50.0})
    return home


@pytest.fixture(scope="module")
def exported(home: Path) -> dict[str, set[str]]:
    """The labels of each sample that the exporter gives of that run."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Spools(home / "spool"))
    return {sample.name: set(sample.labels) for family in registry.collect() for sample in family.samples}


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.panel)
def test_a_query_names_only_metrics_and_labels_that_are_exported(query: Query, exported: dict[str, set[str]]) -> None:
    selectors = list(query.selectors())
    assert selectors
    for name, labels in selectors:
        if not name.startswith(OTHERS):
            assert name in exported, f"{query.panel} asks for {name}"
            assert labels <= exported[name], f"{query.panel} narrows {name} by {labels - exported[name]}"


def test_what_is_asked_of_ray_is_what_ray_exports() -> None:
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    source = (Path(spec.origin).parent / "dashboard/modules/reporter/reporter_agent.py").read_text()
    asked = {name.removeprefix("ray_") for query in queries() for name, _ in query.selectors() if name.startswith("ray_")}
    assert len(asked) >= 5
    assert [name for name in asked if f'"{name}"' not in source] == []


def test_every_run_can_be_chosen_and_each_panel_is_in_its_place() -> None:
    variables = {each["name"]: each for each in board()["templating"]["list"]}
    assert set(variables) == {"run", "stage"}
    for name, each in variables.items():
        assert each["definition"].startswith("label_values(slipway_training_open")
        assert each["definition"].endswith(f", {name})")
    panels = board()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(x, y) for each in panels for x, y in _cells(each["gridPos"])}
    assert len(places) == sum(each["gridPos"]["w"] * each["gridPos"]["h"] for each in panels), "panels lie on each other"
    assert max(x for x, _ in places) == 23


def _cells(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y


def test_grafana_is_provisioned_with_the_source_that_every_panel_names() -> None:
    [source] = yaml.safe_load((PROVISIONING / "datasources/prometheus.yml").read_text())["datasources"]
    named = {each["datasource"]["uid"] for panel in board()["panels"] if "targets" in panel for each in (panel, *panel["targets"])}
    assert named == {source["uid"]}
    [provider] = yaml.safe_load((PROVISIONING / "dashboards/slipway.yml").read_text())["providers"]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    mounted = [volume.split(":")[1] for volume in services["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/training.json" in mounted
    assert source["url"] == "http://prometheus:9090"


@pytest.mark.slow
@pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus here: apt-get install --no-install-recommends prometheus")
def test_a_real_prometheus_answers_every_query_and_those_about_runs_with_a_value(
    home: Path, tmp_path: Path, free_port: int
) -> None:
    assert PROMETHEUS is not None
    env = os.environ | {"SLIPWAY_HOME": str(home)}
    exporter = subprocess.Popen([sys.executable, "-m", "infra.metrics", "--port", str(free_port)], env=env)
    settings = yaml.safe_load((ROOT / "infra/prometheus/prometheus.yml").read_text())
    settings["global"]["scrape_interval"] = "200ms"
    settings["scrape_configs"] = [{"job_name": "slipway", "static_configs": [{"targets": [f"127.0.0.1:{free_port}"]}]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
    port = processes.free_port()
    command = [PROMETHEUS, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/tsdb"]
    server = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        assert wait_for(address, "count_over_time(slipway_training_loss[1m]) > 2")
        silent = {query.panel for query in queries() if not ask(address, query.text)}
    finally:
        for process in (server, exporter):
            process.terminate()
            process.wait()
    assert silent == {"Time left", "Processors", "Memory", "GPUs", "GPU memory", "Store"}, "no step, no Ray, no store"
