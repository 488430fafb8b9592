"""The OpenAI-compatible HTTP API: the one file here that knows a web framework."""

import asyncio
import contextlib
import hmac
import math
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from infra.store.errors import SlipwayError
from llm.serving import dispatch
from llm.serving.answers import DONE, Answer, classifications, sent_event
from llm.serving.engine import Delivery, DrainingError, Ended, Failed
from llm.serving.errors import ApiError, api_error
from llm.serving.package import Package
from llm.serving.requests import ChatRequest, ClassificationRequest, CompletionRequest, Generating, read
from llm.serving.service import Service
from llm.serving.work import Classified, Event, Finished, Text

MAX_BODY: Final = 4 * 2**20  # bytes: far more than any context
Result = TypeVar("Result")
Asking = TypeVar("Asking", bound=Generating)


class Stream:
    """The deliveries of one work, as the event loop awaits them."""

    def __init__(self, service: Service, work: Iterator[Event]) -> None:
        self._engine = service.engine
        self._deliveries: asyncio.Queue[Delivery] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._job = self._engine.submit(work, self._deliver)

    def close(self) -> None:
        """Nobody waits any more: a work that has not ended is cancelled."""
        self._engine.cancel(self._job)

    async def next(self) -> Event | None:
        """The next event, None after the last. Raises ApiError when the work failed."""
        delivery = await self._deliveries.get()
        if isinstance(delivery, Failed):
            raise api_error(delivery.error)
        return None if isinstance(delivery, Ended) else delivery

    async def all(self) -> list[Event]:
        events = []
        while event := await self.next():
            events.append(event)
        return events

    def _deliver(self, delivery: Delivery) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._deliveries.put_nowait, delivery)


class EventStream(StreamingResponse):
    """Server-sent events; whichever way it ends, a client that left included, the work is cancelled."""

    def __init__(self, stream: Stream, content: AsyncIterator[bytes]) -> None:
        super().__init__(content, media_type="text/event-stream", headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.close()


def application(service: Service, api_key: str | None = None) -> FastAPI:
    """The routes over a service. With a key, everything under /v1 asks for it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    v1 = APIRouter(prefix="/v1", dependencies=[Depends(_guard(api_key))])
    started = int(time.time())

    @app.get("/health")
    def health() -> Response:
        sickness = service.sickness()
        running, waiting = service.engine.in_progress()
        document = {"status": "ok" if sickness is None else sickness.what, "running": running, "waiting": waiting}
        return JSONResponse(document, 200 if sickness is None else 503)

    @app.get("/version")
    def version() -> dict[str, object]:
        return service.package.document()

    @v1.get("/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(service, started)]}

    @v1.get("/models/{name:path}")
    def model(name: str) -> dict[str, Any]:
        dispatch.check_name(service.package, name)
        return _model(service, started)

    @v1.post("/completions")
    async def completions(request: Request) -> Response:
        asked = read(CompletionRequest, await _body(request))
        return await _generate(service, request, asked, dispatch.completion, chat=False)

    @v1.post("/chat/completions")
    async def chat_completions(request: Request) -> Response:
        asked = read(ChatRequest, await _body(request))
        return await _generate(service, request, asked, dispatch.chat, chat=True)

    @v1.post("/classifications")
    async def classify(request: Request) -> Response:
        asked = read(ClassificationRequest, await _body(request))
        stream = Stream(service, await asyncio.to_thread(dispatch.classify, service.package, asked))
        events = await _while_connected(request, stream, stream.all())
        return JSONResponse(classifications(service.package.name, [event for event in events if isinstance(event, Classified)]))

    app.include_router(v1)
    for kind in (ApiError, SlipwayError, HTTPException, Exception):
        app.add_exception_handler(kind, _error)
    return app


async def _generate(
    service: Service, request: Request, asked: Asking, work: Callable[[Package, Asking], Iterator[Event]], *, chat: bool
) -> Response:
    package = service.package
    stream = Stream(service, await asyncio.to_thread(work, package, asked))  # a long prompt is encoded beside the loop, not in it
    answer = Answer(package.name, package.version or package.weights_sha256[:16], chat)
    if asked.stream:
        first = await _while_connected(request, stream, stream.next())  # an error before it is an error's status, not a stream
        return EventStream(stream, _events(stream, first, answer, asked.stream_options.include_usage))
    events = await _while_connected(request, stream, stream.all())
    text = "".join(event.text for event in events if isinstance(event, Text))
    return JSONResponse(answer.whole(text, next(event for event in events if isinstance(event, Finished))))


async def _events(stream: Stream, event: Event | None, answer: Answer, include_usage: bool) -> AsyncIterator[bytes]:
    """The stream of an answer whose first event is there already."""
    for document in answer.first():
        yield sent_event(document)
    try:
        while event:
            if isinstance(event, Text) and event.text:
                yield sent_event(answer.piece(event.text))
            elif isinstance(event, Finished):
                for document in answer.last(event, include_usage):
                    yield sent_event(document)
            event = await stream.next()
    except ApiError as error:  # the status is out already: clients find an error in the stream
        yield sent_event(error.document())
        return
    yield DONE


async def _while_connected(request: Request, stream: Stream, answer: Coroutine[Any, Any, Result]) -> Result:
    """The answer; the work is cancelled as soon as the client has gone."""
    answering, leaving = asyncio.ensure_future(answer), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ApiError(499, "the client has gone")  # nobody reads it
        return answering.result()
    except BaseException:
        stream.close()
        raise
    finally:
        answering.cancel()
        leaving.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise ApiError(413, f"the body is longer than {MAX_BODY:,} bytes", headers={"Connection": "close"})
    return bytes(body)


def _guard(api_key: str | None) -> Callable[[Request], None]:
    """Lets a request pass that carries the key; the comparison takes the same time whatever was sent."""
    expected = f"Bearer {api_key}".encode()

    def check(request: Request) -> None:
        sent = request.headers.get("authorization", "").encode()
        if api_key is not None and not hmac.compare_digest(sent, expected):
            raise ApiError(
                401,
                "this server wants its API key: send it as `Authorization: Bearer KEY`" if not sent else "this is not the API key",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return check


def _model(service: Service, created: int) -> dict[str, Any]:
    return {"id": service.package.name, "object": "model", "created": created, "owned_by": "slipway"}


def _error(request: Request, error: Exception) -> Response:
    if isinstance(error, SlipwayError):
        error = api_error(error)
    elif isinstance(error, HTTPException):
        what = {404: "no such path", 405: "not with this method"}.get(error.status_code, str(error.detail))
        error = ApiError(error.status_code, f"{what}: {request.method} {request.url.path}", headers=error.headers or {})
    elif not isinstance(error, ApiError):
        error = ApiError(500, "an error in the server; its log says more", "server_error", code="failed")
    return JSONResponse(error.document(), error.status, dict(error.headers))


class Server(uvicorn.Server):
    """Uvicorn, told by us when to end: by itself it would close its port before what runs has ended."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


async def serve(service: Service, listener: socket.socket, *, api_key: str | None, grace: float, ready: Callable[[], None]) -> None:
    """Serves until SIGTERM or SIGINT, then drains: what was accepted goes on to its end, nothing new is taken.

    ready: called when the model has answered. Raises what it raised instead, and SlipwayError when requests had to be broken
    off after `grace` seconds. A second signal ends the process at once.
    """
    app = application(service, api_key)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", ws="none", server_header=False, timeout_keep_alive=75
    )
    server, ending = Server(config), asyncio.Event()

    def end(number: int) -> None:
        if ending.is_set():
            os._exit(128 + number)
        service.engine.drain()
        ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await _either(serving, server.up)
    cut = 0
    try:
        with contextlib.suppress(DrainingError):  # the signal came before the model had answered
            await asyncio.to_thread(service.probe)
            ready()
        await _either(serving, ending)
        cut = await _drain(service, server, grace)
    finally:
        server.should_exit = True
        await serving
    if cut:
        raise SlipwayError(f"{cut} requests had not ended {grace:g} seconds after the signal and were broken off")


async def _either(serving: "asyncio.Task[None]", event: asyncio.Event) -> None:
    """Waits for the event; raises what ended the server, should it end before."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if serving.done():
        serving.result()


async def _drain(service: Service, server: Server, grace: float) -> int:
    """Returns how many works did not end in time. Until then the port stays open, and says 503 to whoever comes."""
    deadline = time.monotonic() + grace
    await asyncio.to_thread(service.engine.wait_until_idle, grace)
    cut = await asyncio.to_thread(service.engine.stop)
    server.config.timeout_graceful_shutdown = max(1, math.ceil(deadline - time.monotonic()))  # for clients that read slowly
    return cut
