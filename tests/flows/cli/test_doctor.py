"""`slipway doctor` says what a run would stumble over, and how to mend it."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from flows.cli import doctor as module
from flows.cli.doctor import CHECKS, doctor
from infra.store import open_store
from infra.store.lease import lease
from infra.tracking.spool import Spool

NOBODY = 4_194_305  # one more than the largest pid that Linux gives


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SLIPWAY_STORE", "MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def examine(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, Any]]]:
    code = doctor(as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] == (code == 0)
    return code, {check["name"]: check for check in document["checks"]}


def test_a_sound_machine_passes_and_is_left_untouched(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, checks = examine(capsys)
    assert [check["name"] for check in checks.values() if not check["ok"]] == []
    assert code == 0
    assert list(checks) == list(CHECKS)
    assert not home.exists()


def test_each_trouble_is_found_and_names_its_mend(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_the_way = tmp_path / "a file"
    in_the_way.touch()
    (home / "prefect").mkdir(parents=True)
    (home / "prefect" / "profiles.toml").write_text('[profiles.work]\nPREFECT_API_KEY = "secret"\n')
    monkeypatch.setenv("SLIPWAY_STORE", str(in_the_way))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setattr(module, "_ROOM", 10**18)
    monkeypatch.setattr(
        "flows.cli.doctor.metadata.requires", lambda name: ["torch>=99", "no-such-thing>=1", "ray; extra == 'bench'"]
    )
    code, checks = examine(capsys)
    assert code == 1
    failed = {name: check for name, check in checks.items() if not check["ok"]}
    assert set(failed) == {"packages", "store", "disk", "prefect", "mlflow"}
    assert all(check["mend"].endswith(".") for check in failed.values())
    assert failed["packages"]["found"].endswith("is not >=99; no-such-thing is missing")
    assert str(in_the_way) in failed["store"]["found"]
    assert "secret" not in json.dumps(checks)


def test_a_prefect_server_that_does_not_answer_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    code, checks = examine(capsys)
    assert code == 1
    assert checks["prefect"]["found"] == "flows run under http://127.0.0.1:9/api, which does not answer"


def test_runs_never_shipped_and_leases_left_behind_are_counted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool = Spool(home / "spool", "pretrain-1")
    spool.open("pretrain")
    spool.close()
    spool.path.write_text(spool.path.read_text().replace(f'"pid": {os.getpid()}', f'"pid": {NOBODY}'))
    store = open_store(str(home / "store"))
    with lease(store, "pretrain-1"):
        left = json.loads(store.read("leases/pretrain-1.json"))
        left["holder"]["owner"]["process"]["pid"] = NOBODY
        store.write("leases/evaluate-1.json", json.dumps(left).encode())
        code, checks = examine(capsys)
    assert code == 0  # it may still be under way
    assert checks["spool"]["found"] == "1 runs not shipped to MLflow yet"
    assert checks["leases"]["found"] == "1 held, 1 left by a killed run, free for the next"
    long_ago = time.time() - 3600
    os.utime(spool.path, (long_ago, long_ago))
    code, checks = examine(capsys)
    assert code == 1
    assert str(spool.path) in checks["spool"]["found"]
