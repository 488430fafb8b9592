"""Bad input gets one clear sentence that names it, exit code 2, and changes nothing."""

import gzip
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from infra.tracking.spool import pending
from tests.e2e.conftest import FAST, NO_CHANGE, Slipway

Write = Callable[[Path], Path]


def refused(slipway: Slipway, *words: str, names: str, env: Mapping[str, str] = NO_CHANGE) -> None:
    """Exit code 2, a document that names it and its mend, and nothing on disk is touched."""
    before = slipway.contents()
    document = slipway(*words, "--json", env=env)
    assert document.code == 2, document.err
    error = document.json()["error"]
    assert names in error["where"] + error["what"]
    assert error["mend"]
    assert "Traceback" not in document.err
    assert slipway.contents() == before


def test_a_person_is_told_in_one_sentence_with_its_mend(slipway: Slipway) -> None:
    (slipway.folder / "empty.txt").touch()
    spoken = slipway("run", "lifecycle", "--set", "data.path=empty.txt")
    assert spoken.code == 2
    assert spoken.out == ""
    assert spoken.err == f"slipway: {slipway.folder}/empty.txt: empty: it holds no rows\nGive a file with text.\n"


def test_bad_data_is_named(slipway: Slipway) -> None:
    bad = {
        "empty.txt": b"",
        "binary.txt": bytes(range(256)) * 20,
        "cut.txt.gz": gzip.compress(b"text " * 10_000)[:-20],
        "picture.png": b"\x89PNG",
    }
    for name, content in bad.items():
        (slipway.folder / name).write_bytes(content)
        refused(slipway, "run", "lifecycle", "--set", f"data.path={name}", names=name)
    refused(slipway, "run", "lifecycle", "--set", "data.path=nowhere.txt", names="nowhere.txt")
    assert not slipway.home.exists()


def test_a_recipe_with_two_typos_names_both(slipway: Slipway) -> None:
    (slipway.folder / "my.yaml").write_text("data:\n  pth: x\npretrain:\n  training:\n    lerning_rate: 1\n")
    for nearest in ("data.path", "pretrain.training.learning_rate"):
        refused(slipway, "run", "lifecycle", "--recipe", "my.yaml", names=nearest)


def test_a_word_that_is_no_command_flow_or_option_is_named(slipway: Slipway) -> None:
    assert slipway("rnu").code == 2
    refused(slipway, "run", "pretrian", names="pretrian")
    refused(slipway, "run", "pretrain", "--stpes", "3", names="--stpes")
    refused(slipway, "run", "pretrain", "--set", "training.steps", names="training.steps")


def test_a_store_that_cannot_be_written_is_named(slipway: Slipway, text: Write) -> None:
    text(slipway.folder / "text.txt")
    (slipway.folder / "file").write_text("in the way")
    store = str(slipway.folder / "file" / "store")
    refused(slipway, "run", "pretrain", "--set", "data.path=text.txt", names=store, env={"SLIPWAY_STORE": store})
    assert not slipway.home.exists()


def test_a_home_that_cannot_be_written_and_a_setting_that_is_none_are_named(slipway: Slipway, text: Write, tmp_path: Path) -> None:
    text(slipway.folder / "text.txt")
    (slipway.folder / "file").write_text("in the way")
    home = str(slipway.folder / "file" / "home")
    words = ["run", "pretrain", "--set", "data.path=text.txt"]
    refused(slipway, *words, names=home, env={"SLIPWAY_HOME": home, "SLIPWAY_STORE": str(tmp_path / "store")})
    refused(slipway, *words, names="SLIPWAY_LEASE_SECONDS", env={"SLIPWAY_LEASE_SECONDS": "soon"})
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_a_server_or_cluster_that_is_not_there_is_named_in_time(slipway: Slipway, text: Write, free_port: int) -> None:
    text(slipway.folder / "text.txt")
    words = ["run", "lifecycle", "--set", "data.path=text.txt", *FAST]
    nobody = f"127.0.0.1:{free_port}"
    for name, value in {"PREFECT_API_URL": f"http://{nobody}/api", "MLFLOW_TRACKING_URI": f"http://{nobody}"}.items():
        refused(slipway, *words, names=nobody, env={name: value})
    for address in (nobody, "somewhere"):
        refused(slipway, *words, "--set", "training.workers=2", names=f"RAY_ADDRESS={address}", env={"RAY_ADDRESS": address})


def wait_until_shipped(slipway: Slipway) -> None:
    deadline = time.monotonic() + 120
    while pending(slipway.home / "spool"):
        assert time.monotonic() < deadline, "the shipper did not end"
        time.sleep(0.1)


@pytest.mark.slow
def test_a_damaged_shard_is_named_and_a_damaged_checkpoint_passed_over(slipway: Slipway, text: Write) -> None:
    text(slipway.folder / "text.txt")
    words = ["run", "pretrain", "--set", "data.path=text.txt", *FAST]
    finished = slipway(*words, "--set", "training.learning_rate=0.01")
    assert finished.code == 0, finished.err
    wait_until_shipped(slipway)  # in a process of its own, which writes into the home
    record = next(path for path in (slipway.home / "store/stages").iterdir() if json.loads(path.read_text())["stage"] == "pretrain")
    record.unlink()  # as if the run had been killed after its last checkpoint
    checkpoint = max(slipway.home.glob("store/runs/pretrain-*/checkpoints/*/*.distcp"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    again = slipway(*words, "--set", "training.learning_rate=0.01", "--json")
    assert again.code == 0, again.err
    assert again.json()["resumed_from"] == 8
    told = [line for line in again.err.splitlines() if "a damaged checkpoint is passed over" in line]
    assert [f"{checkpoint.parent.name}/{checkpoint.name}" in line for line in told] == [True, True], "before it starts, and by it"
    shard = next(slipway.home.glob("store/datasets/*-tokens/*/train-00000.bin"))
    content = bytearray(shard.read_bytes())
    content[0] ^= 255
    shard.write_bytes(bytes(content))
    refused(slipway, *words, "--set", "training.steps=13", names=shard.name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_store_is_named(slipway: Slipway, text: Write) -> None:
    text(slipway.folder / "text.txt")
    store = slipway.folder / "store"
    store.mkdir(mode=0o555)
    refused(slipway, "run", "pretrain", "--set", "data.path=text.txt", names=str(store), env={"SLIPWAY_STORE": str(store)})
