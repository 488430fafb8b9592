"""Golden answers are exactly what a server of the same package gives."""

from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

from llm.evaluation.golden import golden_chats, golden_classifications, golden_completions
from llm.models.classifier import Classifier, encode
from llm.models.config import LlamaConfig
from llm.models.llama import Llama
from llm.serving.api import application
from llm.serving.engine import Engine
from llm.serving.package import Package
from llm.serving.sampling import continue_text
from llm.serving.service import Service
from llm.text.chat import ChatFormat
from llm.text.tokenizer import Tokenizer

CONTEXT = 64


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["the ship waits for the tide, the old captain follows the northern light"] * 4, 300)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Llama:
    torch.manual_seed(3)
    return Llama(
        LlamaConfig(vocabulary=320, context_length=CONTEXT, n_layers=2, width=32, n_heads=4, n_kv_heads=2, hidden=64)
    ).eval()


def said(package: Package, path: str, body: dict[str, object]) -> dict[str, Any]:
    """The first choice of a server's answer at temperature 0."""
    service = Service(package, Engine(slots=1, queue=1))
    client = TestClient(application(service))
    answer = client.post(path, json={"model": package.name, "temperature": 0, **body})
    service.engine.stop()
    assert answer.status_code == 200, answer.text
    choice: dict[str, Any] = answer.json()["choices"][0]
    return choice


def test_a_completion_is_the_likeliest_continuation_and_the_server_s_answer(model: Llama, tokenizer: Tokenizer) -> None:
    prompts = ["The ship", "größer → 船", "the tide " * 100]
    golden = golden_completions(model, tokenizer, prompts, max_tokens=12)
    assert [each["prompt"] for each in golden] == prompts[:2], "one that fills the context cannot be asked"
    package = Package("ship", model, tokenizer, None, None, "")
    for each in golden:
        assert each["kind"] == "completion"
        assert each["text"] == continue_text(model, tokenizer, each["prompt"], max_new_tokens=12, temperature=0)
        asked: dict[str, object] = {"prompt": each["prompt"], "max_tokens": each["max_tokens"]}
        assert each["text"] == said(package, "/v1/completions", asked)["text"]


def test_a_chat_is_the_server_s_answer(model: Llama, tokenizer: Tokenizer) -> None:
    chats = ChatFormat.of(tokenizer)
    (golden,) = golden_chats(model, tokenizer, chats, ["Hi"], max_tokens=8)
    assert golden["messages"] == [{"role": "user", "content": "Hi"}]
    package = Package("ship", model, tokenizer, chats, None, "")
    answer = said(package, "/v1/chat/completions", {"messages": golden["messages"], "max_tokens": 8})
    assert golden["text"] == answer["message"]["content"]


def test_a_classification_is_the_likeliest_label_and_its_probability(model: Llama, tokenizer: Tokenizer) -> None:
    torch.manual_seed(4)
    body = Llama(model.config).eval()
    classifier = Classifier(body, ("calm", "storm")).eval()
    (golden,) = golden_classifications(classifier, tokenizer, ["a cold wind"])
    ids = encode(tokenizer, "a cold wind", CONTEXT)
    with torch.no_grad():
        probabilities = torch.softmax(classifier(torch.tensor([ids]), torch.tensor([len(ids)]))[0].double(), 0)
    assert golden["label"] == ("calm", "storm")[int(probabilities.argmax())]
    assert golden["probability"] == pytest.approx(float(probabilities.max()), abs=1e-12)


def test_a_model_in_half_precision_answers_as_it_does_in_fp32_and_stays_as_it_is(model: Llama, tokenizer: Tokenizer) -> None:
    half = Llama(model.config)
    half.load_state_dict(model.state_dict())
    half = half.to(torch.bfloat16)
    golden = golden_completions(half, tokenizer, ["The ship"], max_tokens=8)
    exact = Llama(model.config)
    exact.load_state_dict(half.state_dict())
    assert golden == golden_completions(exact.eval(), tokenizer, ["The ship"], max_tokens=8)
    assert next(half.parameters()).dtype == torch.bfloat16
