"""The registry by reference: one call of ours, on a local database and behind a server."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.registry import Registry
from infra.store.errors import InputError
from infra.tracking.client import TrackingError, connect
from infra.tracking.runs import ensure_run

MLMODEL = """\
flavors:
  python_function:
    loader_module: mlflow.pyfunc.model
    model_code_path: pyfunc_model.py
    python_version: 3.11.7
    streamable: false
mlflow_version: 3.17.2
model_uuid: 0123456789abcdef0123456789abcdef
signature:
  inputs: '[{"type": "string", "required": true}]'
  outputs: '[{"type": "string", "required": true}]'
  params: '[{"name": "max_tokens", "type": "integer", "default": 5, "shape": null}]'
utc_time_created: '2026-11-24 00:00:00.000000'
"""
PYFUNC = """\
from pathlib import Path
from typing import Any

import mlflow


class Continuation(mlflow.pyfunc.PythonModel):
    def load_context(self, context: Any) -> None:
        self.word = (Path(__file__).parent / "word.txt").read_text()

    def predict(self, context: Any, model_input: list[str], params: dict[str, Any] | None = None) -> list[str]:
        return [text + self.word * (params or {})["max_tokens"] for text in model_input]


mlflow.models.set_model(Continuation())
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An MLflow database, migrated once for all tests here."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    connect(uri)
    return uri


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server over that database."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--host", "127.0.0.1"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--workers", "1"],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def wait_until_healthy(url: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


def package(store: Path, run: str, word: str = "!") -> Path:
    """A model package as a run leaves it in its folder of the store."""
    folder = store / "runs" / run / "artifacts/package"
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "pyfunc_model.py").write_text(PYFUNC)
    (folder / "word.txt").write_text(word)
    return folder


def registers_and_answers(uri: str, store: Path, run: str, name: str) -> None:
    """The promise, the same on a database and behind a server: registered by reference, listed, loaded, nothing copied."""
    from mlflow.pyfunc import load_model  # seconds, which collecting the tests need not spend

    folder = package(store, run)
    run_id = ensure_run(uri, run, str(store), experiment="pretrain")
    registry = Registry(uri)
    made = registry.register(name, folder.as_uri(), run_id, tags={"review.status": "candidate"}, description="# A card\n" * 1_000)
    assert (made.version, made.source, made.run_id, made.uri) == (1, folder.as_uri(), run_id, f"models:/{name}/1")
    assert len(made.description) == 5_000
    assert registry.register(name, folder.as_uri(), run_id) == made
    assert registry.has(name, 1, folder.as_uri())
    assert not registry.has(name, 1, store.as_uri())
    assert not registry.has(name, 2, folder.as_uri())
    client = connect(uri)
    assert [artifact.path for artifact in client.list_artifacts(run_id)] == ["package"]
    listed = {artifact.path for artifact in client.list_artifacts(run_id, "package")}
    assert listed == {"package/MLmodel", "package/pyfunc_model.py", "package/word.txt"}
    client.set_registered_model_alias(name, "champion", "1")
    model = load_model(f"models:/{name}@champion")
    assert model.predict(["One", "Two"]) == ["One!!!!!", "Two!!!!!"]
    assert model.predict(["One"], params={"max_tokens": 2}) == ["One!!"]
    champion = registry.champion(name)
    assert champion is not None
    assert champion.aliases == ("champion",)
    assert champion.tags["review.status"] == "candidate"


def test_a_package_is_registered_by_reference_on_a_local_database(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    registers_and_answers(database, tmp_path / "a store", "pretrain-1f2e-1", "direct")


@pytest.mark.slow
def test_the_same_call_registers_it_behind_a_server(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    store = tmp_path / "a store"
    registers_and_answers(server, store, "pretrain-2f2e-1", "served")
    run_id = ensure_run(server, "pretrain-2f2e-1", str(store), experiment="pretrain")
    with urllib.request.urlopen(f"{server}/get-artifact?run_id={run_id}&path=package/word.txt") as answer:
        assert answer.read() == b"!"
    with pytest.raises(TrackingError, match="Invalid model version source"):
        Registry(server).register("served", tmp_path.as_uri(), run_id)


@pytest.mark.slow
def test_a_version_registered_on_the_database_is_the_same_behind_the_server(server: str, database: str, tmp_path: Path) -> None:
    folder = package(tmp_path / "store", "pretrain-3f2e-1")
    run_id = ensure_run(database, "pretrain-3f2e-1", str(tmp_path / "store"), experiment="pretrain")
    made = Registry(database).register("both", folder.as_uri(), run_id, description="A card.")
    assert ensure_run(server, "pretrain-3f2e-1", str(tmp_path / "store"), experiment="pretrain") == run_id
    assert Registry(server).register("both", folder.as_uri(), run_id) == made
    assert Registry(server).version("models:/both/1") == made


def test_a_store_that_was_moved_still_shows_its_artifacts(database: str, tmp_path: Path) -> None:
    package(tmp_path / "old", "pretrain-4f2e-1")
    ensure_run(database, "pretrain-4f2e-1", str(tmp_path / "old"), experiment="moved")
    (tmp_path / "old").rename(tmp_path / "new")
    (link,) = (tmp_path / "new/runs/mlflow").glob("*/artifacts")
    assert (link / "package/word.txt").read_text() == "!"


def test_two_stores_with_a_run_of_the_same_name_do_not_share_artifacts(database: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        package(tmp_path / name, "pretrain-5f2e-1", word=name)
    first, second = (ensure_run(database, "pretrain-5f2e-1", str(tmp_path / name), experiment="stores") for name in ("one", "two"))
    assert first != second
    assert ensure_run(database, "pretrain-5f2e-1", str(tmp_path / "one"), experiment="stores") == first


def test_a_wrong_address_names_the_nearest_right_one(database: str, tmp_path: Path) -> None:
    registry = Registry(database)
    registry.register("tinker", (tmp_path / "1").as_uri())
    registry.register("tinker", (tmp_path / "2").as_uri())
    assert [each.version for each in registry.versions("tinker")] == [2, 1]
    connect(database).set_registered_model_alias("tinker", "champion", "1")
    assert registry.version("models:/tinker@champion").version == 1
    assert registry.version("models:/tinker/2").source == (tmp_path / "2").as_uri()
    for reference, sentence in {
        "models:/tinkr/1": "no model 'tinkr' is registered\nDid you mean tinker?",
        "models:/tinker/7": "model 'tinker' has no version 7\nIts versions are 2, 1.",
        "models:/tinker@campion": "model 'tinker' has no alias 'campion'\nDid you mean champion?",
        "models:tinker": "not a model's address\nWrite models:/name@champion, models:/name/3 or a package's folder.",
    }.items():
        with pytest.raises(InputError) as raised:
            registry.version(reference)
        assert str(raised.value) == f"{reference}: {sentence}"


def test_a_name_that_mlflow_cannot_keep_is_refused_before_anything_is_written(database: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a model's name"):
        Registry(database).register("a/b", tmp_path.as_uri())


def test_nobody_is_champion_until_a_release_says_so(database: str, tmp_path: Path) -> None:
    registry = Registry(database)
    assert registry.champion("unheard-of") is None
    registry.register("hopeful", tmp_path.as_uri())
    assert registry.champion("hopeful") is None


def test_tags_set_later_stand_on_the_version(database: str, tmp_path: Path) -> None:
    registry = Registry(database)
    version = registry.register("tagged", tmp_path.as_uri(), tags={"gates": "passed"})
    registry.set_tags(version, {"review.status": "approved"})
    assert registry.version("models:/tagged/1").tags == {"gates": "passed", "review.status": "approved"}


def test_a_server_that_is_down_is_named_within_seconds(free_port: int) -> None:
    start = time.monotonic()
    with pytest.raises(TrackingError, match="cannot be reached") as raised:
        Registry(f"http://127.0.0.1:{free_port}").versions()
    assert time.monotonic() - start < 5
    assert raised.value.exit_code == 2
    assert raised.value.where == f"http://127.0.0.1:{free_port}"


def test_a_server_that_hangs_is_given_up_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # ours is 5 s; what the user set stays
    with socket.socket() as listener:  # takes connections, never answers
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        start = time.monotonic()
        with pytest.raises(TrackingError, match="does not answer"):
            Registry(f"http://127.0.0.1:{listener.getsockname()[1]}").versions()
        assert time.monotonic() - start < 8
