"""`python -m llm.serving` as a process: what it refuses in one sentence, what it loads, how it ends."""

import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch

from llm.models.hub import load_model
from llm.serving import package
from llm.serving.__main__ import _api_key, main
from llm.serving.sampling import continue_text
from llm.text.tokenizer import Tokenizer
from tests.llm.serving.conftest import ROOT, Running, Serve, random_model, write_package

KEY = "open-sesame"


def test_serving_loads_nothing_of_flows_nor_of_what_only_flows_need(base_folder: Path) -> None:
    code = f"""
import sys
from llm.serving import __main__ as command, api, package
package.load_package(__import__("pathlib").Path({str(base_folder)!r}))
heavy = ("prefect", "mlflow", "ray", "great_expectations", "boto3", "datasets", "flows", "pandas")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere: no such folder"),
        ([], "the following arguments are required: folder"),
        ([".", "--port", "70000"], "'70000' is not a whole number from 0 to 65,535"),
        ([".", "--slots", "0"], "'0' is not a whole number from 1 to 256"),
        ([".", "--port", "0"], "config.json"),
        ([".", "--port", "0", "--host", "0.0.0.0"], "a server that others can reach needs an API key"),
        ([".", "--port", "0", "--host", "no.such.host.invalid"], "no address to listen on"),
        ([".", "--port", "0", "--api-key-file", "nowhere"], "the API key cannot be read"),
        ([".", "--api-key-file", "/dev/null"], "not an API key"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main([str(tmp_path) if word == "." else word for word in arguments]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert err.startswith("slipway: ")
    assert len(err.splitlines()) <= 2  # what and where, and the mend
    assert not out


def test_a_model_that_gives_no_numbers_is_not_served(
    tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    model = random_model(tokenizer.size)
    torch.nn.init.constant_(model.norm.weight, float("nan"))
    assert main([str(write_package(tmp_path, tokenizer, model)), "--port", "0", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "not-finite"
    assert "answers on" not in err


def test_a_taken_port_is_refused_and_with_json_in_a_document(base_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main([str(base_folder), "--port", str(port), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == {
        "code": "bad-input",
        "what": "cannot listen there (address already in use)",
        "where": f"127.0.0.1:{port}",
        "mend": "Choose another --port (0: any free one) or --host.",
    }


def test_a_port_that_is_taken_while_the_model_loads_is_refused_too(
    base_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = package.load_package
    with socket.socket() as rival:
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rival.bind(("127.0.0.1", 0))

        def slowly(*arguments: Any) -> package.Package:
            rival.listen()
            return load(*arguments)

        monkeypatch.setattr(package, "load_package", slowly)
        assert main([str(base_folder), "--port", str(rival.getsockname()[1])]) == 2
    assert "cannot listen there (address already in use)" in capsys.readouterr().err


def test_a_damaged_package_is_not_served(base_folder: Path, tmp_path: Path) -> None:
    manifest = {"format": 1, "version": "v", "files": {"config.json": {"sha256": "0" * 64, "bytes": 1}}, "facts": {}}
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((base_folder / name).read_bytes())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    done = subprocess.run(
        [sys.executable, "-m", "llm.serving", str(tmp_path), "--port", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "its manifest says 000000000000" in done.stderr
    assert "Traceback" not in done.stderr


def test_beyond_loopback_a_key_opens_the_door_and_is_never_printed(base_folder: Path, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    server = serve(base_folder, "--host", "0.0.0.0", "--name", "m", "--api-key-file", str(tmp_path / "key"))
    server.url = server.url.replace("0.0.0.0", "127.0.0.1")
    assert server.openai(KEY).models.list().data[0].id == "m"
    with pytest.raises(openai.AuthenticationError):
        server.openai("wrong").models.list()
    assert server.end() == 0
    assert KEY not in server.said


def test_the_key_may_come_from_the_environment_and_a_file_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _api_key(None) is None
    monkeypatch.setenv("SLIPWAY_API_KEY", KEY)
    assert _api_key(None) == KEY
    (tmp_path / "key").write_text("another\n")
    assert _api_key(tmp_path / "key") == "another"


def _requests(server: Running, pool: ThreadPoolExecutor, count: int) -> list["Future[httpx.Response]"]:
    def ask(number: int) -> httpx.Response:
        with server.http() as client:
            return client.post("/v1/completions", json={"prompt": "the ship", "temperature": 0, "max_tokens": 100, "seed": number})

    return [pool.submit(ask, number) for number in range(count)]


def test_a_drain_under_load_loses_no_request(base_folder: Path, serve: Serve, tokenizer: Tokenizer) -> None:
    expected = continue_text(load_model(base_folder), tokenizer, "the ship", temperature=0, max_new_tokens=100)
    server = serve(base_folder, "--slots", "3")
    with ThreadPoolExecutor(24) as pool, server.http() as client:
        waiting = _requests(server, pool, 24)
        while client.get("/health").json()["waiting"] < 12:  # each look is a request of its own: no time is slept away
            assert not all(answer.done() for answer in waiting)
        server.process.send_signal(signal.SIGTERM)
        answers = [answer.result() for answer in waiting]
    assert server.process.wait(30) == 0
    told = {answer.status_code for answer in answers}
    assert told <= {200, 503}  # 503: it came after the signal, and was told so
    whole = [answer.json()["choices"][0]["text"] for answer in answers if answer.status_code == 200]
    assert len(whole) >= 15  # 3 were running, 12 waited
    assert set(whole) == {expected}
    assert "Traceback" not in server.said


def test_requests_that_outlast_the_grace_are_told_and_the_exit_says_so(endless_folder: Path, serve: Serve) -> None:
    server = serve(endless_folder, "--grace", "1")
    with server.http() as client, client.stream("POST", "/v1/completions", json=_ENDLESS) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        server.process.send_signal(signal.SIGTERM)
        last = [line for line in lines if line][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "draining"
    assert server.process.wait(30) == 1
    server.listened.join(10)
    assert "1 requests had not ended 1 seconds after the signal and were broken off" in server.said


def test_a_second_signal_ends_at_once(endless_folder: Path, serve: Serve) -> None:
    server = serve(endless_folder, "--grace", "600")
    with server.http() as client, client.stream("POST", "/v1/completions", json=_ENDLESS) as response:
        assert next(response.iter_lines()).startswith("data: ")
        server.process.send_signal(signal.SIGINT)
        while client.get("/health").status_code != 503:
            pass
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 128 + signal.SIGINT


_ENDLESS = {"prompt": "the ship", "temperature": 0, "max_tokens": 60_000, "stream": True}
