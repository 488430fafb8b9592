"""Who watches a flow that was started from the command line: the terminal, and for a training also MLflow and Prefect's page."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from flows.cli.progress import Terminal
from flows.pipeline.stage import Stage
from flows.tracking import TRACKED, tracked
from infra.settings import Settings
from llm.events import Event, Observer


def watching(settings: Settings, terminal: Terminal) -> Callable[[Stage, str], AbstractContextManager[Observer]]:
    """What a session calls around the work of each stage."""

    @contextmanager
    def watch(stage: Stage, run: str) -> Iterator[Observer]:
        terminal.stage(stage.name)
        try:
            if stage.name in TRACKED:
                from flows.pipeline.board import Board  # Prefect, which has to be prepared before it is loaded

                with tracked(settings, stage, run) as track, Board(stage.name) as board:
                    yield _all(terminal, track, board)
            else:
                yield terminal
        except BaseException:
            terminal.failed()
            raise
        terminal.done()

    return watch


def _all(*observers: Observer) -> Observer:
    def observe(event: Event) -> None:
        for each in observers:
            each(event)

    return observe
