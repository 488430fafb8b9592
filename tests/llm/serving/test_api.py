"""OpenAI's own client works unchanged, and every way to fail has the status and the document that it expects."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
import torch

from llm.serving.api import MAX_BODY
from llm.serving.package import Package
from llm.serving.sampling import continue_text, generate
from llm.text.chat import ChatFormat
from llm.text.tokenizer import Tokenizer
from tests.llm.serving.conftest import CONTEXT, LABELS, Live, Scripted, random_model, scripted_package

PATIENCE = 20.0
MakeLive = Callable[..., Live]
BASE, ASSISTANT, CLASSIFIER = "slipway-tiny", "slipway-tiny-assistant", "slipway-tiny-classifier"


def _events(response: httpx.Response) -> list[str]:
    return [line.removeprefix("data: ") for line in response.iter_lines() if line]


def test_a_greedy_completion_is_exactly_what_the_model_says_alone(base: Live, tokenizer: Tokenizer) -> None:
    package = base.service.package
    expected = continue_text(package.model, tokenizer, "the ship", temperature=0, max_new_tokens=30)  # type: ignore[arg-type]
    answer = base.openai().completions.create(model=BASE, prompt="the ship", temperature=0, max_tokens=30)
    assert answer.choices[0].text == expected
    assert (answer.object, answer.model, answer.choices[0].finish_reason) == ("text_completion", BASE, "length")
    assert answer.usage is not None
    prompt = 1 + len(tokenizer.encode("the ship"))
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (prompt, 30, prompt + 30)


def test_a_greedy_chat_is_exactly_what_the_chat_format_and_the_model_give(assistant: Live, tokenizer: Tokenizer) -> None:
    chats = ChatFormat.of(tokenizer)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "the ship"}]
    ids = generate(
        assistant.service.package.model,  # type: ignore[arg-type]
        chats.prompt_ids(messages),  # type: ignore[arg-type]
        max_new_tokens=12,
        temperature=0,
        stop=chats.stop,
        vocabulary=tokenizer.size,
    )
    answer = assistant.openai().chat.completions.create(model=ASSISTANT, messages=messages, temperature=0, max_tokens=12)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == tokenizer.decode(list(ids)).rstrip("\ufffd")
    assert (answer.object, answer.choices[0].message.role) == ("chat.completion", "assistant")


def test_a_streamed_chat_is_the_whole_one_and_ends_with_its_usage(assistant: Live) -> None:
    asked = {"model": ASSISTANT, "messages": [{"role": "user", "content": "the ship"}], "temperature": 0, "max_tokens": 20}
    whole = assistant.openai().chat.completions.create(**asked)  # type: ignore[call-overload]
    chunks = list(
        assistant.openai().chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})  # type: ignore[call-overload]
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-2:] == [None, "length"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert len(chunks) > 10


def test_a_streamed_completion_ends_as_the_protocol_says(base: Live) -> None:
    asked = {"prompt": "a", "stream": True, "seed": 4}  # any other seed may happen to draw the end of text
    with base.http() as client, client.stream("POST", "/v1/completions", json=asked) as response:
        events = _events(response)
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert events[-1] == "[DONE]"
    assert [json.loads(event)["choices"][0]["finish_reason"] for event in events[:-1]][-1] == "length"
    assert all("usage" not in json.loads(event) for event in events[:-1])


def test_a_seed_means_the_same_answer_and_none_means_another(base: Live) -> None:
    def ask(**options: int) -> str:
        answer = base.openai().completions.create(model=BASE, prompt="the", max_tokens=30, **options)  # type: ignore[call-overload]
        return str(answer.choices[0].text)

    assert ask(seed=4) == ask(seed=4)
    assert len({ask() for _ in range(4)}) == 4


def test_token_ids_are_taken_as_they_are(base: Live, tokenizer: Tokenizer) -> None:
    ids = [tokenizer.eos, *tokenizer.encode("the ship")]
    by_ids = base.openai().completions.create(model=BASE, prompt=ids, temperature=0)
    by_text = base.openai().completions.create(model=BASE, prompt="the ship", temperature=0)
    assert by_ids.choices[0].text == by_text.choices[0].text
    with pytest.raises(openai.BadRequestError, match=f"token {tokenizer.size} is none of"):
        base.openai().completions.create(model=BASE, prompt=[tokenizer.size])


def test_characters_of_several_tokens_reach_a_streaming_client_whole(live: MakeLive, tokenizer: Tokenizer) -> None:
    said = "größer\u2028→ 船 😀\u0085."
    script = [index for letter in said for index in tokenizer.encode(letter)]
    server = live(scripted_package(Scripted(tokenizer, script), tokenizer)).ready()
    stream = server.openai().chat.completions.create(model="scripted", messages=[{"role": "user", "content": "x"}], stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(pieces) == said
    assert [piece for piece in pieces if piece] == list(said)
    with (
        server.http() as client,
        client.stream("POST", "/v1/chat/completions", json={"messages": [{"role": "user", "content": "x"}], "stream": True}) as raw,
    ):
        assert all(json.loads(event) for event in _events(raw)[:-1])  # httpx splits lines at every line end Unicode knows


def test_stop_strings_are_honoured_and_never_shown_in_a_stream(live: MakeLive, tokenizer: Tokenizer) -> None:
    script = [index for letter in "Aye.\nUser: no" for index in tokenizer.encode(letter)]
    client = live(scripted_package(Scripted(tokenizer, script), tokenizer)).ready().openai()
    stream = client.completions.create(model="scripted", prompt="x", stop=["\nUser:", "never"], max_tokens=50, stream=True)
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks) == "Aye."
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert client.completions.create(model="scripted", prompt="x", stop="y", max_tokens=50).choices[0].text == "A"


def test_the_served_model_is_listed_and_retrieved(base: Live) -> None:
    client = base.openai()
    assert [model.id for model in client.models.list()] == [BASE]
    assert client.models.retrieve(BASE).owned_by == "slipway"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_another_models_name_gets_no_answer_of_this_one(base: Live) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        base.openai().completions.create(model="gpt-9", prompt="x")
    assert (error.value.code, error.value.param) == ("model_not_found", "model")
    assert "'slipway-tiny'" in error.value.message
    with base.http() as client:
        assert client.post("/v1/completions", json={"prompt": "x"}).status_code == 200  # no name: the one that is served


@pytest.mark.parametrize("room", [0, 1])
def test_a_prompt_that_leaves_no_room_is_refused_with_the_numbers(base: Live, room: int) -> None:
    prompt = [5] * (CONTEXT - room)
    if room:
        answer = base.openai().completions.create(model=BASE, prompt=prompt, max_tokens=10, temperature=0)
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 1
        return
    with pytest.raises(openai.BadRequestError, match=f"context is {CONTEXT} tokens, and the prompt alone has {CONTEXT}") as error:
        base.openai().completions.create(model=BASE, prompt=prompt)
    assert error.value.code == "context_length_exceeded"


def test_a_chat_that_has_outgrown_the_context_is_refused_with_the_numbers(assistant: Live) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        assistant.openai().chat.completions.create(model=ASSISTANT, messages=[{"role": "user", "content": "the tide " * 200}])
    assert (error.value.code, error.value.param) == ("context_length_exceeded", "messages")


def test_a_wrong_request_is_a_bad_request_with_its_field(base: Live) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        base.openai().completions.create(model=BASE, prompt="x", temperature=9)
    assert (error.value.param, error.value.code) == ("temperature", "invalid_value")
    assert error.value.body == {
        "message": "temperature should be less than or equal to 2, not 9",
        "type": "invalid_request_error",
        "param": "temperature",
        "code": "invalid_value",
    }


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/v1/completions", b"{", 400, "not JSON"),
        ("POST", "/v1/nothing", b"{}", 404, "no such path: POST /v1/nothing"),
        ("GET", "/v1/completions", b"", 405, "not with this method"),
        ("POST", "/v1/completions", b" " * (MAX_BODY + 1), 413, "longer than 4,194,304 bytes"),
    ],
)
def test_whatever_is_wrong_the_answer_is_an_error_document(
    base: Live, method: str, path: str, body: bytes, status: int, words: str
) -> None:
    with base.http() as client:
        response = client.request(method, path, content=body)
    assert response.status_code == status
    assert words in response.json()["error"]["message"]
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_a_question_for_another_kind_of_model_is_refused_with_the_right_path(base: Live, classifier: Live) -> None:
    with base.http() as to_base, classifier.http() as to_classifier:
        messages = {"messages": [{"role": "user", "content": "x"}]}
        refusals = [
            to_base.post("/v1/chat/completions", json=messages),
            to_base.post("/v1/classifications", json={"input": "x"}),
            to_classifier.post("/v1/completions", json={"prompt": "x"}),
            to_classifier.post("/v1/chat/completions", json=messages),
        ]
    assert [response.status_code for response in refusals] == [400] * 4
    assert [response.json()["error"]["code"] for response in refusals] == ["no_chat_template"] + ["wrong_kind"] * 3
    assert [response.json()["error"]["message"].partition("Ask ")[2] for response in refusals] == [
        "/v1/completions.",
        "/v1/completions.",
        "/v1/classifications.",
        "/v1/classifications.",
    ]


def test_texts_are_classified_one_or_many_with_every_labels_probability(classifier: Live) -> None:
    with classifier.http() as client:
        one = client.post("/v1/classifications", json={"model": CLASSIFIER, "input": "the ship"}).json()
        many = client.post("/v1/classifications", json={"input": ["the tide", "the ship", ""]}).json()
    assert (one["object"], one["model"], [each["index"] for each in many["data"]]) == ("list", CLASSIFIER, [0, 1, 2])
    assert {**many["data"][1], "index": 0} == one["data"][0]  # its neighbours change nothing
    for each in many["data"]:
        assert tuple(each["probabilities"]) == LABELS
        assert sum(each["probabilities"].values()) == pytest.approx(1)
        assert each["probability"] == each["probabilities"][each["label"]] == max(each["probabilities"].values())


def test_health_is_good_only_after_the_model_has_answered(live: MakeLive, tokenizer: Tokenizer) -> None:
    server = live(scripted_package(Scripted(tokenizer, [5]), tokenizer))
    with server.http() as client:
        before = client.get("/health")
        server.ready()
        after = client.get("/health")
    assert (before.status_code, before.json()["status"]) == (503, "the model has not answered yet")
    assert (after.status_code, after.json()) == (200, {"status": "ok", "running": 0, "waiting": 0})


def test_a_model_that_breaks_is_an_error_for_the_client_and_for_health(live: MakeLive, tokenizer: Tokenizer) -> None:
    model = random_model(tokenizer.size, tied=False)
    with torch.no_grad():
        model.embedding.weight[tokenizer.encode("!")] = float("nan")
    server = live(Package("broken", model, tokenizer, None, None, "0" * 64)).ready()
    client = server.openai()
    assert client.completions.create(model="broken", prompt="the", temperature=0, max_tokens=4).choices[0].text
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError, match="not finite") as error:
            client.completions.create(model="broken", prompt="the!", stream=stream)
        assert (error.value.status_code, error.value.code) == (500, "not_finite")
    with server.http() as http:
        health = http.get("/health")
    assert (health.status_code, health.json()["status"]) == (503, "the model's output is not finite")


class Breaking(Scripted):
    def forward(self, ids: torch.Tensor, cache: object = None, documents: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(ids, cache) * (float("nan") if len(self.asked) == 3 else 1)


def test_a_model_that_breaks_in_the_middle_of_a_stream_ends_it_with_an_error(live: MakeLive, tokenizer: Tokenizer) -> None:
    script = tokenizer.encode("the ship waits for the tide")
    server = live(scripted_package(Breaking(tokenizer, script), tokenizer))
    stream = server.openai().completions.create(model="scripted", prompt="x", stream=True, max_tokens=50)
    with pytest.raises(openai.APIError, match="not finite"):
        list(stream)


def test_a_full_queue_answers_429_at_once_and_the_others_get_their_answers(live: MakeLive, tokenizer: Tokenizer) -> None:
    gate = threading.Semaphore(0)
    script = tokenizer.encode("the ship waits")
    server = live(scripted_package(Scripted(tokenizer, script, gate), tokenizer), slots=1, queue=2)

    def ask() -> str:
        return server.openai().completions.create(model="scripted", prompt="x", max_tokens=50).choices[0].text

    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(ask) for _ in range(3)]
        server.until(lambda engine: engine.in_progress() == (1, 2))
        with pytest.raises(openai.RateLimitError, match="2 requests wait already") as error:
            server.openai().completions.create(model="scripted", prompt="x")
        assert (error.value.response.headers["retry-after"], error.value.code) == ("1", "queue_full")
        gate.release(1000)
        assert [answer.result() for answer in answers] == ["the ship waits"] * 3


def test_streams_at_once_advance_together(live: MakeLive, tokenizer: Tokenizer) -> None:
    gate = threading.Semaphore(0)
    script = tokenizer.encode("abcdefgh")
    model = Scripted(tokenizer, script, gate)
    server = live(scripted_package(model, tokenizer), slots=2)

    def follow() -> int:
        with server.http() as client, client.stream("POST", "/v1/completions", json={"prompt": "x", "stream": True}) as response:
            return len(_events(response))

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(follow)
        server.until(lambda engine: engine.in_progress()[0] == 1)
        second = pool.submit(follow)
        server.until(lambda engine: sum(engine.in_progress()) == 2)
        gate.release(1000)
        assert first.result(PATIENCE) == second.result(PATIENCE) == len(script) + 2
    turns = [address == model.asked[0] for address in model.asked]  # whether each step was the first client's
    assert turns == [True, *[True, False] * len(script), False]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_slot(live: MakeLive, tokenizer: Tokenizer, stream: bool) -> None:
    gate = threading.Semaphore(0)
    model = Scripted(tokenizer, tokenizer.encode("abc") * 30, gate)
    server = live(scripted_package(model, tokenizer), slots=1)
    with server.http() as client:
        gate.release(3)
        request = client.build_request("POST", "/v1/completions", json={"prompt": "x", "max_tokens": 90, "stream": stream})
        if stream:
            response = client.send(request, stream=True)
            assert next(response.iter_lines()).startswith("data: ")
            response.close()
        else:
            request.extensions["timeout"] = {"read": 0.5, "connect": 5, "write": 5, "pool": 5}
            with pytest.raises(httpx.ReadTimeout):
                client.send(request)
    server.until(lambda engine: all(job.cancelled for job in engine._running))
    gate.release(1000)
    server.until(lambda engine: engine.in_progress() == (0, 0))
    assert len(model.asked) <= 4  # what had begun, and no more for nobody
    assert server.openai().completions.create(model="scripted", prompt="x", max_tokens=3).choices[0].text == "abc"


def test_while_draining_the_old_requests_end_and_new_ones_are_told_to_go_elsewhere(live: MakeLive, tokenizer: Tokenizer) -> None:
    gate = threading.Semaphore(2)
    server = live(scripted_package(Scripted(tokenizer, tokenizer.encode("the ship"), gate), tokenizer), slots=1).ready()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: server.openai().completions.create(model="scripted", prompt="x").choices[0].text)
        server.until(lambda engine: engine.in_progress()[0] == 1)
        server.engine.drain()
        with server.http() as client:
            health = client.get("/health")
            refused = client.post("/v1/completions", json={"prompt": "x"})
        assert (health.status_code, health.json()["status"]) == (503, "the server is ending")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
        gate.release(1000)
        assert running.result(PATIENCE) == "the ship"


def test_a_key_is_asked_for_under_v1_and_never_repeated(live: MakeLive, tokenizer: Tokenizer) -> None:
    model = Scripted(tokenizer, tokenizer.encode("abc"))
    server = live(scripted_package(model, tokenizer), api_key="open-sesame").ready()
    assert server.openai("open-sesame").completions.create(model="scripted", prompt="x").choices[0].text == "abc"
    wrong = server.openai("wrong")
    for ask in (wrong.models.list, lambda: wrong.completions.create(model="scripted", prompt="x")):
        with pytest.raises(openai.AuthenticationError, match="this is not the API key") as error:
            ask()
        assert error.value.code == "invalid_api_key"
        assert "sesame" not in str(error.value)
    with server.http() as client:
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers=[(b"Authorization", "Bearer größer".encode())]).status_code == 401
        assert client.post("/v1/completions", content=b"{").status_code == 401  # the key comes before the question
        assert client.get("/health").status_code == client.get("/version").status_code == 200


def test_the_version_page_says_what_is_served(base: Live, base_folder: object) -> None:
    with base.http() as client:
        assert client.get("/version").json() == base.service.package.document()
