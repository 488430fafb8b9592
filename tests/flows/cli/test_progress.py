"""Who waits for a training sees how far it is, how fast and how long still: on a terminal, and in a log."""

import itertools
import os
import pty
import subprocess
import sys
import time

import pytest

from flows.cli.progress import Terminal
from llm import events

ON_A_TERMINAL = """
import time
from flows.cli.progress import Terminal
from llm import events
with Terminal() as terminal:
    terminal.stage("pretrain")
    for step in range(1, 5):
        terminal(events.StepDone(step, 8, 3.25, 512, 512 * step, 1e-3, 0.5, 0.25))
        time.sleep(0.2)
    terminal(events.Validated(4, 3.0, "bits_per_byte", 2.125))
    terminal(events.Noted("[red] is no markup here"))
    terminal.done()
"""


def done(step: int) -> events.StepDone:
    return events.StepDone(step, 900, 3.25, 512, 512 * step, 1e-3, 0.5, 0.25)


def test_a_log_gets_a_line_now_and_then_with_rate_and_eta(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = itertools.count()
    monkeypatch.setattr("flows.cli.progress.monotonic", lambda: float(next(clock)))  # a second passes with every look
    with Terminal() as terminal:
        terminal.stage("pretrain")
        for step in range(1, 41):
            terminal(done(step))
        terminal(events.Progress("tokenizing", 5, 10, "documents"))
        terminal(events.Sampled(40, "The", " end\nof it"))
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "pretrain ..."
    assert lines[-1] == "  sample: The| end of it"
    steps = [line for line in lines if "tokens/s" in line]
    assert 1 < len(steps) < 10
    assert all("/900  loss 3.250  2,048 tokens/s  ETA " in line for line in steps)


def test_a_terminal_gets_one_live_line_with_rate_and_eta() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "140"}
    del environment["NO_COLOR"]
    process = subprocess.Popen([sys.executable, "-c", ON_A_TERMINAL], stderr=theirs, env=environment)
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            seen += os.read(ours, 65536)
        except OSError:  # the other end was closed
            break
    assert process.wait(10) == 0
    os.close(ours)
    text = seen.decode()
    assert "step 3/8" in text
    assert "2,048 tokens/s" in text
    assert "ETA" in text
    assert "step 4: 2.125 bits per byte on validation (loss 3.000)" in text
    assert "[red] is no markup here" in text
    assert "pretrain done in" in text


def test_restarts_skipped_steps_and_what_was_taken_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal() as terminal:
        terminal(events.Skipped(7, "the gradient is inf"))
        terminal(events.RolledBack(4, 5, 7, "3 steps in a row were skipped"))
        terminal(events.Restarted(4, "somewhere", 0, 0, 0.0, 12.0))
        terminal(events.Spent("cpu", 12.34, 5.0, 1, None, "no price is known"))
    assert capsys.readouterr().err.splitlines() == [
        "  step 7 skipped: the gradient is inf",
        "  went back to step 4; the batches of steps 5 to 7 are left out: 3 steps in a row were skipped",
        "  restarted after step 4: nothing lost, at work again 12.0 s after the last step before",
        "  took 12.3 worker-seconds of CPU, and 5.0 in 1 attempt before",
    ]
