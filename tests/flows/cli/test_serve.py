"""`slipway serve` starts the server of a registered model or a folder, and Ctrl-C ends it in order."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from flows.cli import _run
from flows.cli.located import Located, locate
from infra.registry import Registry
from infra.store import open_store
from infra.store.errors import InputError
from infra.store.manifest import publish
from llm.serving import __main__ as server
from tests.llm.serving.conftest import random_model, small_tokenizer, write_package

SLIPWAY = [sys.executable, "-c", "from flows.cli import main; main()"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    tokenizer = small_tokenizer()
    return write_package(tmp_path / "my-model", tokenizer, random_model(tokenizer.size))


def _published(home: Path, package: Path) -> tuple[Path, str]:
    store = open_store(str(home / "store"))
    thing = publish(store, "runs/r1/artifacts/package", Path(shutil.copytree(package, package.with_name("copy"))), {})
    return home / "store" / thing.prefix, thing.version


def test_a_registered_model_is_found_in_the_store_and_only_there(
    home: Path, package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, _ = _published(home, package)
    Registry(f"sqlite:///{home / 'mlflow.db'}").register("tiny", folder.as_uri())
    assert locate("models:/tiny/1") == Located(folder, "tiny")
    with pytest.raises(InputError, match="has no version 2"):
        locate("models:/tiny/2")
    monkeypatch.setenv("SLIPWAY_STORE", str(tmp_path / "another"))
    with pytest.raises(InputError, match="not in the store in use"):
        locate("models:/tiny/1")


def test_a_served_package_is_known_by_its_version_and_ctrl_c_drains(home: Path, package: Path) -> None:
    folder, version = _published(home, package)
    process = subprocess.Popen(
        [*SLIPWAY, "serve", str(folder), "--name", "tiny", "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = next(line for line in process.stderr if "answers on" in line)
        with httpx.Client(base_url=said.split()[-1], trust_env=False, timeout=30) as client:
            told = client.get("/version").json()
            answer = client.post("/v1/completions", json={"model": "tiny", "prompt": "the", "max_tokens": 3})
        assert answer.json()["usage"]["completion_tokens"] == 3
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert json.loads(out) == {"url": said.split()[-1], **told}
        assert (told["model"], told["package"]) == ("tiny", version)
    finally:
        process.kill()
        process.wait()


def test_a_folder_is_served_with_what_was_asked_for_the_server(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, argv: started.append(argv))
    assert (
        _run(
            ["serve", str(package), "--port", "0", "--name", "mine", "--queue", "3", "--precision", "int8", "--api-key-file", "key"]
        )
        == 0
    )
    options = server._parser().parse_args(started[0][started[0].index("llm.serving") + 1 :])
    assert (options.folder, options.name, options.port, options.queue) == (package, "mine", 0, 3)
    assert options.precision == "int8"
    assert options.api_key_file == Path("key").absolute()


@pytest.mark.parametrize(
    ("model", "what"),
    [("nowhere", "no such folder"), ("models:/tiny/1", "no model is registered yet")],
)
def test_a_model_that_is_not_there_is_refused(home: Path, model: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        locate(model)
    assert not home.exists()  # looking makes nothing
