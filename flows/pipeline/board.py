"""The progress of a training on the page of its Prefect run: how far, how fast, how long still."""

import threading
from contextvars import copy_context
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.objects import TaskRun
from prefect.context import TaskRunContext

from flows.pace import Pace, step_words
from flows.restarts import restart_line
from llm.events import Event, Restarted, StepDone

_EVERY: Final = 5.0  # seconds between two updates
_PATIENCE: Final = 5.0  # seconds for an answer


class Board:
    """An observer for the length of its block. It writes in a thread of its own, so that no step waits for the server.

    A server that is away, or refuses, is asked again at the next update; training does not notice.
    """

    def __init__(self, stage: str, *, task_run: TaskRun | None = None, every: float = _EVERY) -> None:
        """task_run: on whose page; by default the one that is in force, and outside of any nothing is shown."""
        self._stage, self._every = stage, every
        self._pace = Pace()
        self._left: float | None = None
        self._newest: StepDone | None = None
        self._restarts: list[str] = []
        self._artifact: UUID | None = None
        self._told, self._ended = threading.Event(), threading.Event()
        context = TaskRunContext.get()
        self._run = task_run or (context.task_run if context is not None else None)
        self._thread = threading.Thread(target=copy_context().run, args=(self._keep,), name=f"board of {stage}", daemon=True)

    def __call__(self, event: Event) -> None:
        match event:
            case StepDone():
                self._left, self._newest = self._pace(event), event
                self._told.set()
            case Restarted():
                self._restarts.append(restart_line(event))

    def __enter__(self) -> Self:
        if self._run is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._told.set()
        if self._run is not None:
            self._thread.join(2 * _PATIENCE)  # a server that hangs does not hold up what comes next

    def _keep(self) -> None:
        with get_client(sync_client=True, httpx_settings={"timeout": _PATIENCE}) as client:
            while not self._ended.is_set():
                self._told.wait()
                self._told.clear()
                self._write(client)
                self._ended.wait(self._every)
            self._write(client)

    def _write(self, client: SyncPrefectClient) -> None:
        newest = self._newest
        if newest is None or self._run is None:
            return
        content: dict[str, Any] = {"data": 100 * newest.step / newest.steps, "description": self._words(newest)}
        try:  # by bare requests: the client's own methods make an event of each, and a thread that outlives the board
            if self._artifact is None:
                ids = {"task_run_id": self._run.id, "flow_run_id": self._run.flow_run_id}
                create = ArtifactCreate(key=f"progress-{self._stage}", type="progress", **ids, **content)
                answer = client.request("POST", "/artifacts/", json=create.model_dump(mode="json", exclude_unset=True))
                self._artifact = UUID(answer.json()["id"])
            else:
                update = ArtifactUpdate(**content).model_dump(mode="json", exclude_unset=True)
                client.request("PATCH", "/artifacts/{id}", path_params={"id": self._artifact}, json=update)
        except Exception:  # whatever the client meets: the next update tells all
            self._told.set()

    def _words(self, done: StepDone) -> str:
        left = f"  ETA {timedelta(seconds=round(self._left))}" if self._left is not None and done.step < done.steps else ""
        lines = [f"{step_words(done)}{left}", f"{done.tokens_seen:,} tokens", *self._restarts]
        return "\n\n".join(lines)
