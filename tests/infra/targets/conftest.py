"""A target with a real HAProxy and a server that stands in for the model's, and clients that count what fails."""

import json
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.processes import marked, stop
from infra.settings import Settings
from infra.store import open_store
from infra.store.errors import SlipwayError
from infra.store.fingerprint import fingerprint
from infra.store.manifest import publish
from infra.targets import haproxy
from infra.targets.local import Target
from infra.targets.record import Release
from infra.targets.rollout import Limits

logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line a request
STAND_IN = Path(__file__).with_name("stand_in.py")


def stand_in(release: Release, port: int, drain_seconds: int) -> list[str]:
    return [sys.executable, "-S", str(STAND_IN), release.folder, "--name", release.name, "--port", str(port)]


@pytest.fixture(autouse=True)
def _haproxy() -> None:
    try:
        haproxy.binary()
    except SlipwayError as error:
        pytest.skip(str(error))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLIPWAY_USER", "tester")
    return Settings.load()


@pytest.fixture
def target(settings: Settings) -> Iterator[Target]:
    made = Target(settings, "local", limits=Limits(start_seconds=60, drain_seconds=60), command=stand_in)
    yield made
    for part in ("blue", "green", "haproxy"):
        stop(marked(f"{settings.home}:target:local:{part}"), grace=1.0)


@pytest.fixture
def release(settings: Settings, tmp_path: Path) -> Callable[..., Release]:
    """`release(1)`: a package in the store that answers as `behaviour` says, as version 1 of `ship`."""

    def make(number: int, golden: tuple[dict[str, Any], ...] | None = None, **behaviour: Any) -> Release:
        told = {"answer": f"answer {number}", "probability": 0.75, **behaviour}
        package = fingerprint(told)[:16]
        folder = tmp_path / f"package-{number}-{package}"
        folder.mkdir()
        (folder / "behaviour.json").write_text(json.dumps({"claims": package, **told}))
        thing = publish(open_store(settings.store), f"runs/pretrain-{number}/artifacts/package", folder, {}, version=package)
        default = ({"kind": "completion", "prompt": "The", "max_tokens": 4, "text": told["answer"]},)
        return Release(f"models:/ship/{number}", "ship", package, str(thing.folder()), default if golden is None else golden)

    return make


@dataclass
class Load:
    """What clients saw: which answers, how often, and everything that went wrong. longest: seconds to a first piece at most."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    longest: float = 0.0


@contextmanager
def load(port: int, clients: int = 6, pieces: int = 8, pause: float = 0.01, body: dict[str, Any] | None = None) -> Iterator[Load]:
    """Clients that ask for streams, one after another, until the block ends; half of them keep their connection."""
    seen, ending, started = Load(), threading.Event(), threading.Barrier(clients + 1)
    asked = {"model": "ship", "prompt": "The", "max_tokens": pieces, "stream": True, "pause": pause} if body is None else body

    def work(keep: bool) -> None:
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
        first = True
        while not ending.is_set():
            began = time.monotonic()
            try:
                with client.stream("POST", "/v1/completions", json=asked) as answer:
                    answer.raise_for_status()
                    lines: list[str] = []
                    for line in answer.iter_lines():
                        if line and not lines:
                            seen.longest = max(seen.longest, time.monotonic() - began)
                        lines += [line] if line else []
                if lines[-1] != "data: [DONE]" or (body is None and len(lines) != pieces + 1):
                    seen.failures.append(f"cut off after {len(lines)} pieces")
                pieces_seen = {json.loads(line[6:])["choices"][0]["text"] for line in lines[:-1]} if body is None else {"answer"}
                seen.answers[" and ".join(sorted(pieces_seen))] += 1
            except (httpx.HTTPError, IndexError) as error:
                seen.failures.append(repr(error))
            if first:
                started.wait(60)
                first = False
            if not keep:
                client.close()
                client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
        client.close()

    threads = [threading.Thread(target=work, args=(number % 2 == 0,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        started.wait(60)
        yield seen
    finally:
        ending.set()
        for thread in threads:
            thread.join(60)
