"""In which precision a package is served: what was asked for, said aloud, and nothing rounded that nobody asked to round."""

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.store.errors import InputError
from infra.targets.record import Release
from infra.targets.server import serving
from llm.models import decoding_kernel
from llm.serving.__main__ import _parser
from llm.serving.package import load_package
from llm.serving.sampling import generate
from llm.text.tokenizer import Tokenizer
from tests.llm.serving.conftest import Live, random_model, write_package


@pytest.fixture(scope="session")
def stored_in_bf16(packages: Path, tokenizer: Tokenizer) -> Path:
    return write_package(packages / "bf16", tokenizer, random_model(tokenizer.size).bfloat16())


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_server_answers_in_the_precision_it_names(base_folder: Path, live: Callable[..., Live], precision: str) -> None:
    package = load_package(base_folder, "m", precision)  # type: ignore[arg-type]
    server = live(package).ready()
    with server.http() as client:
        assert client.get("/version").json()["precision"] == precision
        asked = {"model": "m", "prompt": "the ship", "max_tokens": 20, "temperature": 0}
        answer = client.post("/v1/completions", json=asked).json()["choices"][0]["text"]
        assert client.post("/v1/completions", json=asked).json()["choices"][0]["text"] == answer
    ids = generate(package.model, package.start_ids("the ship"), max_new_tokens=20, temperature=0)  # type: ignore[arg-type]
    stopped = [index for index in ids if index != package.tokenizer.eos]
    assert package.tokenizer.decode(stopped).startswith(answer)
    assert answer


def test_auto_rounds_nothing(base_folder: Path, stored_in_bf16: Path, classifier_folder: Path) -> None:
    assert load_package(base_folder, precision="auto").precision == "fp32"
    assert load_package(stored_in_bf16, precision="auto").precision == "bf16"
    assert load_package(classifier_folder, precision="auto").precision == "fp32"
    assert load_package(stored_in_bf16).precision == "fp32"  # as golden answers are recorded


def test_auto_stays_in_fp32_where_bf16_would_be_slower(stored_in_bf16: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_kernel, "library", lambda: "no C++ compiler (g++)")
    assert load_package(stored_in_bf16, precision="auto").precision == "fp32"


def test_a_classifier_in_low_precision_is_refused_before_it_is_loaded(classifier_folder: Path) -> None:
    with pytest.raises(InputError, match="a classifier answers in fp32, not in int8"):
        load_package(classifier_folder, precision="int8")


def test_an_unknown_precision_is_refused_by_name(base_folder: Path) -> None:
    with pytest.raises(InputError, match="no precision 'fp4'"):
        load_package(base_folder, precision="fp4")  # type: ignore[arg-type]


def test_what_is_deployed_stays_in_fp32_as_its_golden_answers_were_recorded() -> None:
    command = serving(Release("models:/m/1", "m", "0" * 64, "folder"), 8000, 30)
    assert _parser().parse_args(command[command.index("llm.serving") + 1 :]).precision == "fp32"
