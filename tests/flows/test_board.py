"""The page of a Prefect run shows how far a training is, and a server that is away holds up no step."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import TaskRun
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_CSRF_SUPPORT_ENABLED, temporary_settings

from flows.pipeline.board import Board
from infra.processes import free_port
from llm.events import Restarted, StepDone

TASK = TaskRun(task_key="pretrain", dynamic_key="0", flow_run_id=uuid4())
MADE = UUID("00000000-0000-0000-0000-000000000001")


def done(step: int) -> StepDone:
    return StepDone(step, 400, 3.25, 512, 512 * step, 1e-3, 0.5, 0.25)


@dataclass
class Api:
    """The part of Prefect's API that a board talks to, and what it was told; it refuses the first `refusals` times."""

    refusals: int = 0
    told: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    refused: Future[None] = field(default_factory=Future)
    made: Future[None] = field(default_factory=Future)


@pytest.fixture
def api() -> Iterator[Api]:
    state = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if state.refusals:
                state.refusals -= 1
                self._answer(500, {})
                state.refused.set_result(None)
                return
            state.told.append((self.command, self.path, body))
            self._answer(201, {"id": str(MADE), "created": None, "updated": None, **body})
            if self.command == "POST":
                state.made.set_result(None)

        do_PATCH = do_POST  # noqa: N815

        def _answer(self, code: int, document: dict[str, Any]) -> None:
            data = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/api"
    with temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}):
        yield state
    server.shutdown()
    thread.join()
    server.server_close()


def test_one_artifact_is_made_and_ends_where_the_training_ends(api: Api) -> None:
    with Board("pretrain", task_run=TASK, every=60) as board:
        board(done(1))
        api.made.result(timeout=30)
        for step in range(2, 401):
            board(done(step))
        board(Restarted(4, "somewhere", 0, 0, 0.0, 12.0))
    (made, place, first), *updates = api.told
    assert (made, place) == ("POST", "/api/artifacts/")
    assert (first["key"], first["type"]) == ("progress-pretrain", "progress")
    assert (first["task_run_id"], first["flow_run_id"]) == (str(TASK.id), str(TASK.flow_run_id))
    (updated, where, last) = updates[-1]
    assert (updated, where) == ("PATCH", f"/api/artifacts/{MADE}")
    assert len(updates) == 1, "400 steps in a moment are not 400 requests"
    assert last["data"] == 100
    assert last["description"].split("\n\n") == [
        "step 400/400  loss 3.250  2,048 tokens/s",
        "204,800 tokens",
        "restarted after step 4: nothing lost, at work again 12.0 s after the last step before",
    ]


def test_a_server_that_refused_is_told_all_the_next_time(api: Api) -> None:
    api.refusals = 1
    with Board("pretrain", task_run=TASK, every=0.01) as board:
        board(done(40))
        api.refused.result(timeout=30)
    assert api.told[0][2]["data"] == 10


def test_a_server_that_is_away_costs_the_training_nothing() -> None:
    away = temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"})
    with away, Board("pretrain", task_run=TASK, every=0.01) as board:
        began = time.perf_counter()
        for step in range(1, 401):
            board(done(step))
        took = time.perf_counter() - began
    assert took < 1, "400 steps are told in milliseconds"
