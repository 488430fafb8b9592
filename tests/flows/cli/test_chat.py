"""`slipway chat` talks to a package or a server, in the terminal or through a pipe, and ends cleanly."""

import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.cli import _run
from flows.cli.speakers import Remote
from llm.models.hub import load_model
from llm.serving.package import load_package
from llm.serving.sampling import continue_text, generate
from llm.text.chat import ChatFormat, Message
from llm.text.tokenizer import Tokenizer
from tests.llm.serving.conftest import (
    LABELS,
    Live,
    Scripted,
    random_model,
    scripted_package,
    small_tokenizer,
    write_classifier,
    write_package,
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("packages")
    return {
        "base": write_package(top / "base", tokenizer, random_model(tokenizer.size)),
        "assistant": write_package(top / "assistant", tokenizer, random_model(tokenizer.size, seed=6), chat=True),
        "classifier": write_classifier(top / "classifier", tokenizer),
    }


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `slipway chat` with lines on standard input: exit code, standard output, standard error."""

    def run(*words: str, lines: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        code = _run(["chat", *words])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def served(folders: dict[str, Path]) -> Iterator[Callable[[str], Live]]:
    servers: list[Live] = []

    def begin(kind: str, **options: Any) -> Live:
        servers.append(Live(load_package(folders[kind], kind), **options).ready())
        return servers[-1]

    yield begin
    for server in servers:
        server.stop()


def _greedy(folder: Path, tokenizer: Tokenizer, *said: str, tokens: int) -> list[str]:
    """The assistant's answers to what was said, each with the chat so far before it."""
    chats, model = ChatFormat.of(tokenizer), load_model(folder)
    messages: list[Message] = []
    for text in said:
        messages.append({"role": "user", "content": text})
        ids = generate(
            model, chats.prompt_ids(messages), max_new_tokens=tokens, temperature=0, stop=chats.stop, vocabulary=tokenizer.size
        )
        messages.append({"role": "assistant", "content": tokenizer.decode(list(ids)).rstrip("\ufffd")})
    return [message["content"] for message in messages[1::2]]


def test_a_base_model_continues_a_text(say: Any, folders: dict[str, Path], tokenizer: Tokenizer) -> None:
    expected = continue_text(load_model(folders["base"]), tokenizer, "the ship", temperature=0, max_new_tokens=12)
    code, out, _ = say(str(folders["base"]), "--message", "the ship", "--temperature", "0", "--max-tokens", "12")
    assert (code, out) == (0, f"{expected}\n")


def test_an_assistant_remembers_the_chat_so_far(say: Any, folders: dict[str, Path], tokenizer: Tokenizer) -> None:
    expected = _greedy(folders["assistant"], tokenizer, "the ship", "and then", tokens=6)
    options = ("--temperature", "0", "--max-tokens", "6", "--json")
    code, out, err = say(str(folders["assistant"]), *options, lines="the ship\n\nand then\n")
    assert code == 0
    assert json.loads(out) == {
        "model": "assistant",
        "kind": "assistant",
        "turns": [{"message": "the ship", "answer": expected[0]}, {"message": "and then", "answer": expected[1]}],
    }
    assert "assistant is an assistant" in err


def test_a_server_gives_the_same_chat_as_the_package_it_serves(say: Any, served: Any, folders: dict[str, Path]) -> None:
    options = ("--temperature", "0", "--max-tokens", "8", "--json")
    for kind, lines in (("assistant", "the ship\nand then\n"), ("base", "the ship\n"), ("classifier", "the ship\nthe tide\n")):
        server = served(kind)
        assert say(f"{server.url}/v1", *options, lines=lines)[:2] == say(str(folders[kind]), *options, lines=lines)[:2]


def test_a_classifier_labels_each_line(say: Any, folders: dict[str, Path]) -> None:
    code, out, _ = say(str(folders["classifier"]), lines="the ship\nthe tide\n")
    assert code == 0
    for line in out.splitlines():
        label, probability = line.split()
        assert label in LABELS
        assert 0.5 <= float(probability) <= 1
    assert len(out.splitlines()) == 2


def test_a_chat_that_outgrows_the_context_forgets_its_oldest_turn_and_says_so(say: Any, folders: dict[str, Path]) -> None:
    code, out, err = say(str(folders["assistant"]), "--max-tokens", "30", "--json", lines="the ship waits\n" * 4)
    assert code == 0
    assert len(json.loads(out)["turns"]) == 4
    assert "its oldest turn is forgotten" in err


def test_one_message_that_does_not_fit_is_an_error_with_the_numbers(say: Any, folders: dict[str, Path]) -> None:
    code, _, err = say(str(folders["assistant"]), "--message", "the tide " * 200)
    assert code == 1
    assert "this model's context is 128 tokens, and the prompt alone has" in err


class Typed:
    """Somebody who types one line and then Ctrl-C."""

    def __init__(self) -> None:
        self.lines = iter(["the ship\n"])

    def isatty(self) -> bool:
        return False

    def readline(self) -> str:
        for line in self.lines:
            return line
        raise KeyboardInterrupt


def test_the_end_of_input_and_a_ctrl_c_end_a_chat_cleanly(
    say: Any, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert say(str(folders["classifier"]), lines="")[0] == 0
    monkeypatch.setattr(sys, "stdin", Typed())
    assert _run(["chat", str(folders["classifier"]), "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)["turns"]) == 1
    assert "Traceback" not in err


def test_text_is_shown_while_the_server_still_works(tokenizer: Tokenizer) -> None:
    gate = threading.Semaphore(3)
    server = Live(scripted_package(Scripted(tokenizer, tokenizer.encode("abcdef"), gate), tokenizer))
    try:
        pieces = Remote(server.url).chat([{"role": "user", "content": "x"}], {})
        shown = [piece for piece in (next(pieces) for _ in range(4)) if piece]
        assert shown == ["a", "b", "c"]  # the fourth letter waits at the gate
        gate.release(100)
        assert "".join(pieces) == "def"
    finally:
        server.stop()


def test_a_server_that_wants_a_key_gets_it_from_the_variable(say: Any, served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = served("base", api_key="open-sesame")
    code, _, err = say(server.url, "--message", "x")
    assert code == 2
    assert "Set OPENAI_API_KEY" in err
    monkeypatch.setenv("OPENAI_API_KEY", "open-sesame")
    assert say(server.url, "--message", "x")[0] == 0


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["nowhere"], "no such folder"),
        (["http://127.0.0.1:9"], "no answer from the server"),
        (["http://"], "no answer from the server"),
        (["models:/nobody/1"], "no model is registered yet"),
        ([".", "--model", "x"], "--model names one of a server's models"),
    ],
)
def test_what_cannot_be_talked_to_is_named(say: Any, words: list[str], what: str) -> None:
    code, _, err = say(*words)
    assert code == 2
    assert what in err
