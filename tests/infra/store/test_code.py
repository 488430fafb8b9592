"""Machines that work together know whether they run the same Slipway, however it came to each of them."""

import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from infra.store.code import check_installed, installed
from infra.store.errors import InputError

ROOT = Path(__file__).parents[3]
ASK = "from infra.store.code import installed; print(installed())"


def test_a_checkout_and_the_wheel_made_of_it_are_the_same_and_any_change_is_another(tmp_path: Path) -> None:
    def answer() -> str:
        env = {**os.environ, "PYTHONPATH": str(there)}
        return subprocess.run(
            [sys.executable, "-c", ASK], cwd=there, env=env, capture_output=True, text=True, check=True
        ).stdout.strip()

    there = tmp_path / "there"
    zipfile.ZipFile(next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))).extractall(there)
    assert answer() == installed()
    changed = there / "llm/training/loop.py"
    changed.write_text(changed.read_text() + "\n")
    assert answer() != installed()


def test_a_machine_with_another_slipway_says_its_own_name() -> None:
    check_installed(installed())
    with pytest.raises(InputError) as raised:
        check_installed("another")
    assert raised.value.where == socket.gethostname()
