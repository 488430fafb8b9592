"""Tiny packages of the three kinds, and servers of them: in a thread, or as users start them, in a process of their own."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
import uvicorn
from safetensors.torch import load_file, save_file

from llm.models.config import LlamaConfig
from llm.models.hub import save_model
from llm.models.llama import Llama
from llm.serving.api import Server, application
from llm.serving.engine import Engine
from llm.serving.package import Package, load_package
from llm.serving.service import Service
from llm.text.chat import ChatFormat
from llm.text.tokenizer import Tokenizer

ROOT = Path(__file__).parents[3]
CONTEXT = 128
LABELS = ("calm", "storm")
_TEXT = ["the ship waits for the tide; größer → 船, the old captain follows the northern light and says nothing"] * 4


class Reached:
    """A server and its clients."""

    url: str = ""

    def __init__(self) -> None:
        self.clients: list[openai.OpenAI] = []

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def openai(self, key: str = "no key") -> openai.OpenAI:
        """Closed with the server."""
        client = openai.DefaultHttpxClient(trust_env=False)
        self.clients.append(openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, http_client=client))
        return self.clients[-1]

    def close(self) -> None:
        for client in self.clients:
            client.close()


class Running(Reached):
    """A server in a process of its own; `lines` is its standard error so far."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        super().__init__()
        self.process, self.lines, self.ready = process, list[str](), threading.Event()
        self.listened = threading.Thread(target=self.listen, daemon=True)

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"answers on (http://\S+)", line):
                self.url = found[1]
                self.ready.set()
        self.ready.set()


class Live(Reached):
    """The same server in a thread of this process: nothing to load, and the engine within reach."""

    def __init__(self, package: Package, *, slots: int = 4, queue: int = 64, api_key: str | None = None) -> None:
        super().__init__()
        self.service = Service(package, Engine(slots=slots, queue=queue))
        self.engine = self.service.engine
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = Server(uvicorn.Config(application(self.service, api_key), log_level="warning", lifespan="off", ws="none"))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve([self._socket])), daemon=True)
        self._thread.start()

    def ready(self) -> "Live":
        self.service.probe()
        return self

    def until(self, true: Callable[[Engine], bool]) -> None:
        """Waits for a state of the engine."""
        changed = self.engine._changed
        with changed:
            assert changed.wait_for(lambda: true(self.engine), 20)

    def stop(self) -> None:
        self.close()
        self.engine.stop()
        self._server.should_exit = self._server.force_exit = True  # no waiting for a connection that a test has left open
        self._thread.join(30)
        assert not self._thread.is_alive(), self._where()

    def _where(self) -> str:
        """Where a server stands that does not end."""
        frame, state = sys._current_frames().get(self._thread.ident or 0), self._server.server_state
        return f"{''.join(traceback.format_stack(frame))}\n{state.connections}\n{state.tasks}"


class Scripted(Llama):
    """Says given ids, whatever the prompt, and then the end of text; each step waits for the gate, if there is one."""

    def __init__(self, tokenizer: Tokenizer, script: Sequence[int], gate: threading.Semaphore | None = None) -> None:
        super().__init__(_config(tokenizer.size))
        self.script, self.gate = [*script, tokenizer.eos], gate
        self.asked: list[int] = []  # whose step each was: the address of its cache

    def forward(self, ids: torch.Tensor, cache: Any = None, documents: torch.Tensor | None = None) -> torch.Tensor:
        if self.gate:
            assert self.gate.acquire(timeout=30)
        self.asked.append(id(cache))
        cache.said = getattr(cache, "said", -1) + 1
        logits = torch.zeros(1, ids.shape[1], self.config.vocabulary)
        logits[..., self.script[cache.said]] = 1000.0  # drawn at any temperature
        return logits


def scripted_package(model: Scripted, tokenizer: Tokenizer, name: str = "scripted") -> Package:
    return Package(name, model, tokenizer, ChatFormat.of(tokenizer), None, "0" * 64)


Serve = Callable[..., Running]


def start(folder: Path, *options: str, env: dict[str, str] | None = None) -> Running:
    """Starts a server and waits until it answers, or has ended."""
    argv = [sys.executable, "-m", "llm.serving", str(folder), "--port", "0", *options]
    process = subprocess.Popen(argv, cwd=ROOT, env={**os.environ, **(env or {})}, stderr=subprocess.PIPE, text=True)
    running = Running(process)
    running.listened.start()
    assert running.ready.wait(120)
    return running


def stop(running: Running) -> None:
    running.close()
    with suppress(subprocess.TimeoutExpired):
        running.process.terminate()
        running.process.wait(10)
    running.process.kill()
    running.process.wait()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers that end with the test."""
    servers: list[Running] = []

    def begin(folder: Path, *options: str, env: dict[str, str] | None = None) -> Running:
        servers.append(start(folder, *options, env=env))
        return servers[-1]

    yield begin
    for server in servers:
        stop(server)


def small_tokenizer() -> Tokenizer:
    return Tokenizer.train(_TEXT, 300)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


def _config(vocabulary: int, context_length: int = CONTEXT, *, tied: bool = True) -> LlamaConfig:
    return LlamaConfig(
        vocabulary=vocabulary, context_length=context_length, n_layers=2, width=32, n_heads=4, n_kv_heads=2, hidden=48, tied=tied
    )


def random_model(vocabulary: int, *, seed: int = 5, context_length: int = CONTEXT, tied: bool = True) -> Llama:
    """Far from uniform, so that its greedy text is no loop of one token."""
    config = _config(vocabulary, context_length, tied=tied)
    model, generator = Llama(config).eval(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model


def write_package(folder: Path, tokenizer: Tokenizer, model: Llama, *, chat: bool = False) -> Path:
    save_model(model, folder, end_of_text=tokenizer.eos)
    tokenizer.save(folder, context_length=model.config.context_length)
    if chat:
        ChatFormat.of(tokenizer).save(folder)
    return folder


def write_classifier(folder: Path, tokenizer: Tokenizer) -> Path:
    """Written by hand as `transformers` would, so that what is read is the format and not our own writer."""
    write_package(folder, tokenizer, random_model(tokenizer.size, seed=7))
    score = torch.randn(len(LABELS), 32, generator=torch.Generator().manual_seed(1))
    save_file({**load_file(folder / "model.safetensors"), "score.weight": score}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | {
        "architectures": ["LlamaForSequenceClassification"],
        "id2label": {str(number): label for number, label in enumerate(LABELS)},
        "label2id": {label: number for number, label in enumerate(LABELS)},
        "num_labels": len(LABELS),
        "pad_token_id": tokenizer.eos,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="session")
def base_folder(packages: Path, tokenizer: Tokenizer) -> Path:
    return write_package(packages / "base", tokenizer, random_model(tokenizer.size))


@pytest.fixture(scope="session")
def chat_folder(packages: Path, tokenizer: Tokenizer) -> Path:
    return write_package(packages / "assistant", tokenizer, random_model(tokenizer.size, seed=6), chat=True)


@pytest.fixture(scope="session")
def classifier_folder(packages: Path, tokenizer: Tokenizer) -> Path:
    return write_classifier(packages / "classifier", tokenizer)


@pytest.fixture(scope="session")
def endless_folder(packages: Path, tokenizer: Tokenizer) -> Path:
    """A model that goes on for minutes, in plain letters."""
    model = random_model(tokenizer.size, context_length=2**16, tied=False)
    plain = [
        index for index in range(tokenizer.size) if (text := tokenizer.decode([index])) and text.isascii() and text.isprintable()
    ]
    with torch.no_grad():
        kept = torch.zeros(tokenizer.size, 1)
        kept[plain] = 1
        model.head.weight.mul_(kept)
    return write_package(packages / "endless", tokenizer, model)


@pytest.fixture
def live() -> Iterator[Callable[..., Live]]:
    """Starts servers in this process that end with the test."""
    servers: list[Live] = []

    def begin(package: Package, **options: Any) -> Live:
        servers.append(Live(package, **options))
        return servers[-1]

    yield begin
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def base(base_folder: Path) -> Iterator[Live]:
    server = Live(load_package(base_folder, "slipway-tiny")).ready()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def assistant(chat_folder: Path) -> Iterator[Live]:
    server = Live(load_package(chat_folder, "slipway-tiny-assistant")).ready()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def classifier(classifier_folder: Path) -> Iterator[Live]:
    server = Live(load_package(classifier_folder, "slipway-tiny-classifier")).ready()
    yield server
    server.stop()
