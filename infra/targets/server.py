"""One model server of a target: how it is started, and what is asked of it before it may serve."""

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx

from infra.processes import LOOPBACK, last_line
from infra.store.liveness import Process, is_alive
from infra.targets.errors import GoldenError, RolloutError
from infra.targets.record import Release

Command = Callable[[Release, int, int], list[str]]
_PROBABILITY_TOLERANCE: Final = 1e-4  # sums in another order, by another number of threads, differ by less


def serving(release: Release, port: int, drain_seconds: int) -> list[str]:
    """Our own server, as a process of this environment's Python, in the precision in which golden answers are recorded."""
    options = (
        "--precision",
        "fp32",
        "--name",
        release.name,
        "--host",
        LOOPBACK,
        "--port",
        str(port),
        "--grace",
        str(drain_seconds),
    )
    return [sys.executable, "-m", "llm.serving", release.folder, *options]


def environment() -> dict[str, str]:
    """Ours, without what tells a process which flow run it belongs to."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}


def wait_until_ready(process: Process, port: int, log: Path, deadline: float) -> None:
    """Returns when `/health` says that the model answers. Raises RolloutError with the log's last line where it never does."""
    while not is_healthy(port):
        gone = not is_alive(process)
        if gone or time.monotonic() > deadline:
            what = "the new server ended before it answered" if gone else "the new server does not answer in time"
            raise RolloutError(
                f"{what}: {last_line(log) or 'its log is empty'}", where=str(log), mend="Mend what the log says and deploy again."
            )
        time.sleep(0.1)


def is_healthy(port: int, seconds: float = 5.0) -> bool:
    try:
        return _get(port, "/health", seconds).status_code == 200
    except httpx.HTTPError:
        return False


def version(port: int, seconds: float = 5.0) -> Mapping[str, Any]:
    """What `/version` says; nothing where nobody answers."""
    try:
        answer = _get(port, "/version", seconds)
        document = answer.json() if answer.status_code == 200 else {}
    except (httpx.HTTPError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def check_version(port: int, release: Release) -> None:
    """Raises RolloutError unless the server has loaded this very package."""
    found = version(port).get("package")
    if found != release.package:
        raise RolloutError(
            f"the new server has loaded package {found}, not {release.package}", where=release.folder, mend="Deploy again."
        )


def check_golden(port: int, release: Release, deadline: float) -> None:
    """Asks what was asked at the evaluation. Raises GoldenError naming the first answer that differs.

    Completions and chats have to be the same text; a classification the same label, its probability within 0.0001.
    """
    for number, golden in enumerate(release.golden, start=1):
        try:
            found, expected = _asked(port, release.name, golden, max(1.0, deadline - time.monotonic()))
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            found, expected = f"no answer ({error!r})", "an answer"
        if not _agrees(found, expected):
            raise GoldenError(
                f"golden answer {number} of {len(release.golden)} differs: {_short(found)} where {_short(expected)} was recorded",
                where=release.model,
                mend="It serves otherwise than it was evaluated: evaluate it anew on this machine, or find out what changed.",
            )


def _asked(port: int, name: str, golden: Mapping[str, Any], seconds: float) -> tuple[Any, Any]:
    """What the server answers, and what was recorded."""
    if golden["kind"] == "classification":
        row = _post(port, "/v1/classifications", {"model": name, "input": golden["input"]}, seconds)["data"][0]
        return (row["label"], row["probability"]), (golden["label"], golden["probability"])
    body = {"model": name, "max_tokens": golden["max_tokens"], "temperature": 0}
    if golden["kind"] == "chat":
        choice = _post(port, "/v1/chat/completions", {**body, "messages": golden["messages"]}, seconds)["choices"][0]
        return choice["message"]["content"], golden["text"]
    return _post(port, "/v1/completions", {**body, "prompt": golden["prompt"]}, seconds)["choices"][0]["text"], golden["text"]


def _agrees(found: Any, expected: Any) -> bool:
    if isinstance(expected, tuple) and isinstance(found, tuple):
        return bool(found[0] == expected[0] and math.isclose(found[1], expected[1], rel_tol=0, abs_tol=_PROBABILITY_TOLERANCE))
    return bool(found == expected)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@cache
def _client() -> httpx.Client:
    """Plain HTTP on loopback: no proxy of the user's, no certificates (20 ms to load), no connection kept to a server that ends."""
    return httpx.Client(trust_env=False, verify=False, limits=httpx.Limits(max_keepalive_connections=0))


def _get(port: int, path: str, seconds: float) -> httpx.Response:
    return _client().get(f"http://{LOOPBACK}:{port}{path}", timeout=seconds)


def _post(port: int, path: str, body: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    key = os.environ.get("SLIPWAY_API_KEY")  # the server has it from us, and asks for it
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = _client().post(f"http://{LOOPBACK}:{port}{path}", json=body, headers=headers, timeout=seconds)
    answer.raise_for_status()
    document: dict[str, Any] = answer.json()
    return document
