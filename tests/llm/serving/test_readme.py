"""The README's examples for clients are executed as they stand against running servers; the port alone is another."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.llm.serving.conftest import LABELS, ROOT, Live

README = (ROOT / "README.md").read_text()
CURLS = [
    command
    for block in re.findall(r"^```bash\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    for command in re.split(r"\n\n(?=curl )", block.strip())
    if command.startswith("curl ")
]


@pytest.fixture
def answer(assistant: Live, classifier: Live) -> Any:
    """Runs a command against the server of the model that it names."""
    urls = {server.service.package.name: server.url for server in (assistant, classifier)}

    def run(command: str) -> str:
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed")
        (model,) = re.findall(r'"model": "([^"]+)"', command)
        done = subprocess.run(
            [
                "/bin/sh",
                "-c",
                command.replace("http://127.0.0.1:8000", urls[model]).replace("curl ", "curl --silent --show-error ", 1),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout

    return run


def _paths() -> list[str]:
    return [re.findall(r"127\.0\.0\.1:8000(\S+)", command)[0] for command in CURLS]


def test_the_readme_shows_every_path_of_the_api() -> None:
    assert sorted(_paths()) == ["/v1/chat/completions", "/v1/chat/completions", "/v1/classifications", "/v1/completions"]


@pytest.mark.parametrize("command", CURLS, ids=_paths())
def test_a_curl_example_of_the_readme_gets_the_answer_it_asks_for(answer: Any, command: str) -> None:
    asked = json.loads(re.findall(r"-d '(.*)'", command, re.DOTALL)[0])
    # By chance a random model stops at once.
    said = answer(command.replace('"prompt"', '"temperature": 0, "prompt"'))
    if asked.get("stream"):
        events = [line.removeprefix("data: ") for line in said.splitlines() if line]
        assert events[-1] == "[DONE]"
        documents = [json.loads(event) for event in events[:-1]]
        assert documents[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert documents[-1]["usage"]["completion_tokens"] > 0
        return
    document = json.loads(said)
    assert document["model"] == asked["model"]
    if "input" in asked:
        assert [each["index"] for each in document["data"]] == list(range(len(asked["input"])))
        assert {each["label"] for each in document["data"]} <= set(LABELS)
        return
    (choice,) = document["choices"]
    text = choice["message"]["content"] if "messages" in asked else choice["text"]
    assert text
    assert not any(stop in text for stop in asked.get("stop", []))
    assert document["usage"]["completion_tokens"] <= asked["max_tokens"]


def test_the_python_example_of_the_readme_prints_an_answer(assistant: Live, tmp_path: Path) -> None:
    (example,) = [block for block in re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE) if "OpenAI" in block]
    code = example.replace("http://127.0.0.1:8000", assistant.url)
    code = code.replace("stream=True", "stream=True, temperature=0")  # as above
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip()
