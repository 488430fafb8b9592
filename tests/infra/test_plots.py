"""The loss curve: the same run gives the same picture, small enough for a README, whatever the run was like."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from infra.plots import confusion_matrix, loss_curve, smoothed, spread
from infra.store.errors import InputError


def _losses(n: int) -> tuple[list[int], list[float]]:
    noise = np.random.default_rng(1).normal(0, 0.1, n)
    return list(range(1, n + 1)), [3 + 5 * math.exp(-6 * step / n) + float(noise[step]) for step in range(n)]


def _draw(path: Path, n: int = 300) -> bytes:
    steps, losses = _losses(n)
    validation = [(step, 2 + math.exp(-3 * step / n)) for step in steps[n // 10 - 1 :: n // 10]]
    loss_curve(steps, losses, path, validation=validation, references={"order-3 n-gram": 2.16, "xz": 2.49}, title="A $5 run")
    return path.read_bytes()


def test_the_same_numbers_give_the_same_bytes_whenever_they_are_drawn(tmp_path: Path) -> None:
    first = _draw(tmp_path / "new folder" / "first.png")
    assert first == _draw(tmp_path / "second.png")
    assert first.startswith(b"\x89PNG\r\n")
    assert b"Software" not in first and b"tIME" not in first


@pytest.mark.parametrize("n", [300, 50_000])
def test_a_long_run_is_as_small_a_file_as_a_short_one(tmp_path: Path, n: int) -> None:
    assert 10_000 < len(_draw(tmp_path / "curve.png", n)) < 80_000


def test_what_is_drawn_depends_on_what_was_measured(tmp_path: Path) -> None:
    steps, losses = _losses(100)
    pictures = set()
    for validation, references in (
        ([], {}),
        ([(100, 2.5)], {}),
        ([(100, 2.4)], {}),
        ([(100, 2.4)], {"xz": 2.5}),
        ([], {"xz": 2.5}),
    ):
        loss_curve(steps, losses, tmp_path / "curve.png", validation=validation, references=references, title="run")
        pictures.add((tmp_path / "curve.png").read_bytes())
    assert len(pictures) == 5


def test_one_step_and_a_loss_that_blew_up_are_drawn_too(tmp_path: Path) -> None:
    loss_curve([1], [8.3], tmp_path / "one.png", validation=[], references={}, title="one")
    loss_curve([1, 2, 3], [8.3, math.inf, math.nan], tmp_path / "gone.png", validation=[(3, math.nan)], references={}, title="gone")
    assert (tmp_path / "one.png").stat().st_size > 5_000 < (tmp_path / "gone.png").stat().st_size
    with pytest.raises(InputError, match="no finite loss"):
        loss_curve([1], [math.nan], tmp_path / "nothing.png", validation=[], references={}, title="nothing")


def test_what_a_classifier_takes_for_what_is_drawn_however_many_labels_there_are(tmp_path: Path) -> None:
    few, many = tmp_path / "few.png", tmp_path / "many.png"
    confusion_matrix(["a$", "b"], np.array([[5, 1], [0, 0]]), few, title="6 texts")
    confusion_matrix([f"label {i}" for i in range(50)], np.eye(50, dtype=np.int64), many, title="50 texts")
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (few, many))
    assert few.stat().st_size < many.stat().st_size < 300_000


def test_smoothing_keeps_the_first_value_and_averages_the_last_ones() -> None:
    assert smoothed(np.array([9.0, 5.0, 4.0, 2.0, 4.0]), 3).tolist() == [
        9.0,
        6.0,
        pytest.approx(11 / 3),
        pytest.approx(10 / 3),
        3.0,
    ]
    assert smoothed(np.array([9.0]), 1).tolist() == [9.0]


def test_labels_of_like_values_do_not_cover_each_other() -> None:
    assert spread([0.52, 0.10, 0.50], 0.05) == pytest.approx([0.55, 0.10, 0.50])
    assert spread([], 0.05) == []


def test_importing_it_costs_no_matplotlib() -> None:
    code = "import sys, infra.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
