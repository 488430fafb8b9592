"""The command line as a user has it: a process of its own, with a home of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

NO_CHANGE: Mapping[str, str] = MappingProxyType({})
SLIPWAY = [sys.executable, "-c", "from flows.cli import main; main()"]
# A lifecycle in seconds: a small vocabulary, a tiny model, a handful of steps.
FAST = [
    "--set=tokenizer.vocabulary=320",
    "--set=model.preset=llama-tiny",
    "--set=training.steps=12",
    "--set=training.batch_size=4",
    "--set=training.sequence_length=32",
    "--set=training.checkpoint_every=4",
    "--set=training.validate_every=6",
]


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Slipway:
    """`slipway("run", "pretrain")`: runs a command to its end."""

    home: Path
    folder: Path

    def __call__(self, *words: str, env: Mapping[str, str] = NO_CHANGE, timeout: float = 300) -> Finished:
        done = subprocess.run(
            [*SLIPWAY, *words],
            cwd=self.folder,
            env={**self.env(), **env},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*SLIPWAY, *words], cwd=self.folder, env=self.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def env(self, **env: str) -> dict[str, str]:
        return {**os.environ, "SLIPWAY_HOME": str(self.home), "OMP_NUM_THREADS": "2", **env}

    def contents(self) -> dict[str, bytes]:
        """Every file under the home and its bytes."""
        return {str(path.relative_to(self.home)): path.read_bytes() for path in sorted(self.home.rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def text() -> Callable[[Path], Path]:
    """Writes a small text of English sentences, all of them ours, and returns its path."""

    def write(path: Path, paragraphs: int = 160) -> Path:
        subjects = [
            "The ship",
            "A small crew",
            "The harbour",
            "Every rope",
            "The old captain",
            "A cold wind",
            "The lamp",
            "Our map",
        ]
        verbs = ["waits for", "follows", "remembers", "turns towards", "carries", "leaves", "finds", "calls"]
        objects = ["the open sea", "the morning tide", "a quiet bay", "the northern light", "an empty quay", "the long night"]
        lines = []
        for number in range(paragraphs):
            words = [subjects[number % 8], verbs[number // 8 % 8], objects[number // 3 % 6]]
            again = [subjects[(number + 3) % 8], verbs[number // 5 % 8], objects[number // 7 % 6]]
            lines.append(
                f"{' '.join(words)}, day {number}. {' '.join(again)} before the bell rings {number % 12} times; nobody asks why."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def slipway(tmp_path: Path) -> Slipway:
    folder = tmp_path / "work"
    folder.mkdir()
    return Slipway(tmp_path / "home", folder)
