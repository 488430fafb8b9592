"""The progress of a flow on standard error: a live line on a terminal, a line now and then in a log."""

import sys
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flows.cli.output import duration, table
from flows.pace import Pace, step_words
from flows.restarts import restart_line, rollback_line
from flows.spending import spent_line
from flows.work.card import one_line
from llm import events

_LOG_SECONDS = 15.0  # between two progress lines in a log


class Terminal:
    """Shows one stage at a time. `stage` begins one; the events of its work follow; `done` ends it."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._live = self._console.is_terminal
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._stage, self._began, self._logged = "", 0.0, 0.0
        self._pace = Pace()

    def __enter__(self) -> Self:
        if self._live:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._bar.stop()

    def stage(self, name: str) -> None:
        self._stage, self._began, self._logged = name, monotonic(), monotonic()
        self._pace = Pace()
        if self._live:
            self._task = self._bar.add_task(name, total=None, note="")
        else:
            self._print(f"{name} ...")

    def done(self) -> None:
        self._clear()
        self._print(f"{self._stage} done in {duration(monotonic() - self._began)}")

    def failed(self) -> None:
        self._clear()

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.StepDone():
                self._advance(event.step, event.steps, step_words(event), self._pace(event))
            case events.Progress():
                self._advance(
                    event.done,
                    event.total,
                    f"{event.what} {event.done:,} of {event.total:,} {event.unit}"
                    if event.total
                    else f"{event.what} {event.done:,} {event.unit}",
                    (monotonic() - self._began) / event.done * (event.total - event.done) if event.total and event.done else None,
                )
            case events.Validated():
                measured = f"{event.value:.3f} {event.measure.replace('_', ' ')}"
                self._print(f"  step {event.step:,}: {measured} on validation (loss {event.loss:.3f})")
            case events.Sampled():
                self._print(f"  sample: {event.prompt}|{one_line(event.text)}")
            case events.Resumed():
                self._print(f"  going on after step {event.step:,}, from {event.name}")
            case events.Restarted():
                self._print(f"  {restart_line(event)}")
            case events.Skipped():
                self._print(f"  step {event.step:,} skipped: {event.why}")
            case events.RolledBack():
                self._print(f"  {rollback_line(event)}")
            case events.Spent():
                self._print(f"  {spent_line(event)}")
            case events.Noted():
                self._print(f"  {event.message}")
            case events.Tabled():
                self._print(f"\n{table(event.head, event.rows)}\n")
            case events.CheckpointSaved():
                pass

    def _advance(self, done: int, total: int, note: str, left: float | None) -> None:
        if self._live and self._task is not None:
            self._bar.update(self._task, completed=done, total=total or None, note=escape(note))
        elif monotonic() - self._logged >= _LOG_SECONDS:
            self._print(f"  {note}" + (f"  ETA {duration(left)}" if left is not None else ""))
            self._logged = monotonic()

    def _clear(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None

    def _print(self, text: str) -> None:
        if self._live:
            self._bar.console.print(escape(text))
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
