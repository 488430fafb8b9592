"""docker-compose.yml: the real Compose accepts it, nothing in it is open, guessable or unpinned, every file it names is there."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.programs import COMPOSE, AbsentError, installed

ROOT = Path(__file__).parents[2]
FILE, EXAMPLE, DOCKERFILES = (
    ROOT / "docker-compose.yml",
    ROOT / ".env.example",
    sorted((ROOT / "infra/docker").glob("*.Dockerfile")),
)
SECRET = re.compile("PASSWORD|SECRET|TOKEN|SESSION_KEY|AUTH_STRING")
NO_SECRET = {"RAY_AUTH_MODE"}


def example() -> dict[str, str]:
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def compose() -> Path:
    try:
        return installed(*COMPOSE)
    except AbsentError as error:
        pytest.skip(str(error))


def asked(compose: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [str(compose), "--project-directory", str(ROOT), "--file", str(FILE), *words]
    return subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What infra/docker/secrets.sh writes."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "infra/docker").mkdir(parents=True)
    for name in (".env.example", "infra/docker/secrets.sh"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(["bash", "infra/docker/secrets.sh"], cwd=folder, check=True, capture_output=True)
    return folder / ".env"


@pytest.fixture(scope="module")
def model(compose: Path, secrets: Path) -> dict[str, Any]:
    """As Compose understands it, every profile included."""
    done = asked(compose, "--env-file", str(secrets), "--profile", "*", "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_without_secrets_nothing_starts_and_the_sentence_says_what_makes_them(compose: Path) -> None:
    refused = asked(compose, "--env-file", "/dev/null", "config", "--quiet")
    assert refused.returncode != 0
    assert "run infra/docker/secrets.sh" in refused.stderr
    for name, value in example().items():
        if not value:
            assert f"required variable {name} is missing" in refused.stderr


def test_the_secrets_are_random_each_time_for_their_owner_alone_and_never_overwritten(secrets: Path) -> None:
    made = dict(line.split("=", 1) for line in secrets.read_text().splitlines() if "=" in line and not line.startswith("#"))
    random = [made[name] for name, value in example().items() if not value]
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in random)
    assert len(set(random)) == len(random) >= 8
    assert {name: made[name] for name, value in example().items() if value} == {n: v for n, v in example().items() if v}
    assert secrets.stat().st_mode & 0o077 == 0
    again = subprocess.run(["bash", "infra/docker/secrets.sh"], cwd=secrets.parent, check=False, capture_output=True, text=True)
    assert again.returncode == 2
    assert "in use" in again.stderr
    assert made["RAY_TOKEN"] in secrets.read_text()


def test_every_variable_that_is_asked_for_is_in_the_example_and_no_other() -> None:
    text = re.sub(r"(?m)^\s*#.*$", "", FILE.read_text())
    assert set(re.findall(r"\$\{(\w+)", text)) == set(example())


def test_every_service_has_a_health_check_a_restart_policy_and_a_pinned_image(model: dict[str, Any]) -> None:
    for name, service in model["services"].items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["restart"] == "unless-stopped", name
        assert re.fullmatch(r"[\w./-]+:v?\d+(\.\d+)+[\w.-]*", service["image"]), name
        assert not service.get("privileged")
        assert "network_mode" not in service


def test_every_port_is_open_on_loopback_alone(model: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in model["services"].items() if "ports" in service}
    assert set(ports) == {"mlflow", "prefect", "ray-head", "prometheus", "grafana"}
    assert {port["host_ip"] for each in ports.values() for port in each} == {"127.0.0.1"}


def test_no_secret_has_a_default() -> None:
    """In the file as it is written: each is a variable of which compose says that it is missing."""
    services = yaml.safe_load(FILE.read_text())["services"]
    found = [
        (name, key, value)
        for name, service in services.items()
        for key, value in service.get("environment", {}).items()
        if SECRET.search(key) and key not in NO_SECRET
    ]
    assert len(found) > 10
    for name, key, value in found:
        assert re.fullmatch(r"(slipway:)?\$\{\w+:\?.+\}", value), f"{name}: {key}"


def test_every_file_that_is_mounted_or_built_from_is_there(model: dict[str, Any]) -> None:
    binds = [
        mount["source"] for service in model["services"].values() for mount in service.get("volumes", []) if mount["type"] == "bind"
    ]
    assert len(binds) >= 6
    missing = {path for path in binds if not Path(path).exists()}
    assert missing <= {str(ROOT / "data")}, "the folder for texts is the user's"
    builds = [service["build"] for service in model["services"].values() if "build" in service]
    assert {str(Path(build["context"]) / build["dockerfile"]) for build in builds} == {str(path) for path in DOCKERFILES}


def test_every_name_that_a_service_is_reached_by_is_a_service_on_its_network(model: dict[str, Any]) -> None:
    services = model["services"]
    for name, service in services.items():
        said = " ".join([*map(str, service.get("environment", {}).values()), *map(str, service.get("command") or [])])
        for other in set(re.findall(r"(?:https?://|address=|\s)([a-z][a-z-]+):\d{2,5}\b", f" {said}")) - {"localhost", name}:
            assert services[name]["networks"].keys() & services[other]["networks"].keys(), f"{name} cannot reach {other}"
        for needed in service.get("depends_on", {}).values():
            assert needed["condition"] == "service_healthy"
    assert services["postgres"]["networks"].keys() == {"databases"}
    assert model["networks"]["databases"]["internal"]


def test_all_of_ours_run_one_image_and_gpus_are_reserved_in_a_profile_alone(model: dict[str, Any]) -> None:
    ours = {name for name, service in model["services"].items() if "build" in service}
    assert ours == {"mlflow", "prefect", "worker", "metrics", "ray-head", "ray-worker", "ray-worker-gpu"}
    with_devices = {name for name, service in model["services"].items() if "deploy" in service}
    assert with_devices == {"ray-worker-gpu"}
    gpu = model["services"]["ray-worker-gpu"]
    assert gpu["profiles"] == ["gpu"]
    [device] = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_built_from_what_is_there_and_runs_as_nobody_special(path: Path) -> None:
    lines = list(instructions(path))
    copied = [words for verb, words in lines if verb == "COPY" and not words[0].startswith("--from=")]
    sources = {source for words in copied for source in words[:-1] if not source.startswith("--")}
    assert {"pyproject.toml", "constraints.txt", "llm", "infra", "flows"} <= sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert [source for source in sources if source.partition("/")[0] not in allowed] == []
    assert ".env" not in allowed
    assert [words for verb, words in lines if verb == "USER"] == [["slipway"]]
    assert lines[-1][0] == "CMD"
    assert all(re.search(r":\$|:\d", words[0]) for verb, words in lines if verb == "FROM")
    assert "latest" not in path.read_text()
    assert not [words for verb, words in lines if verb in ("ENV", "ARG") if SECRET.search(words[0])]


def instructions(path: Path) -> Iterator[tuple[str, list[str]]]:
    text = re.sub(r"(?m)^#.*\n", "", path.read_text()).replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip():
            verb, *words = line.split()
            yield verb, words


def test_scripts_are_sound_and_can_be_read_by_the_shell_that_runs_them() -> None:
    scripts = sorted((ROOT / "infra/docker").glob("*.sh"))
    assert len(scripts) == 3
    for script in scripts:
        assert script.read_text().startswith("#!/bin/bash\n")
        assert "set -euo pipefail" in script.read_text()
        assert subprocess.run(["bash", "-n", str(script)], capture_output=True, check=False).returncode == 0
