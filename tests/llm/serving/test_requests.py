"""A wrong request is refused with the field and the reason; a right one is never refused, nor silently half honoured."""

import json
from typing import Any

import pytest

from llm.serving.errors import ApiError
from llm.serving.requests import Asked, ChatRequest, ClassificationRequest, CompletionRequest, read

USER = [{"role": "user", "content": "hi"}]


def refused(schema: type[Asked], body: Any) -> tuple[str, str | None, str | None]:
    with pytest.raises(ApiError) as error:
        read(schema, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert error.value.status == 400
    return error.value.message, error.value.param, error.value.code


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("max_tokens", 0, "should be greater than or equal to 1, not 0"),
        ("max_tokens", True, "should be a valid integer"),
        ("max_tokens", "9", "should be a valid integer"),
        ("temperature", -0.1, "should be greater than or equal to 0"),
        ("temperature", 2.1, "should be less than or equal to 2"),
        ("top_p", 0, "should be greater than 0"),
        ("top_p", 1.5, "should be less than or equal to 1"),
        ("top_k", 0, "should be greater than or equal to 1"),
        ("repetition_penalty", 0, "should be greater than 0"),
        ("seed", 2**63, "should be less than"),
        ("seed", 1.5, "should be a valid integer"),
        ("stop", ["a", "b", "c", "d", "e"], "at most 4"),
        ("stop", "", "at least 1 character"),
        ("stop", 7, "should be a valid list"),
        ("stream", "yes", "should be a valid boolean"),
        ("prompt", 7, "must be a text, or a list of token ids"),
        ("prompt", [], "must be a text, or a list of token ids"),
        ("prompt", ["a", "b"], "must be one prompt a request, not 2"),
        ("prompt", [1, "a"], "should be a valid"),
        ("model", 7, "should be a valid string"),
    ],
)
def test_a_field_out_of_bounds_is_named_with_its_bound(field: str, value: Any, words: str) -> None:
    message, param, code = refused(CompletionRequest, {"prompt": "x", field: value})
    assert message.startswith(field)
    assert words in message
    assert (param, code) == (field, "invalid_value")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("best_of", 3),
        ("logprobs", 0),
        ("logprobs", 5),
        ("echo", True),
        ("suffix", "end"),
        ("presence_penalty", 0.5),
        ("frequency_penalty", -1),
        ("logit_bias", {"5": 1}),
    ],
)
def test_what_is_not_implemented_is_refused_by_name_and_never_ignored(field: str, value: Any) -> None:
    message, param, code = refused(CompletionRequest, {"prompt": "x", field: value})
    assert message == f"{field} is not supported by this server: leave it out"
    assert (param, code) == (field, "unsupported_parameter")


def test_tools_and_formats_are_refused_by_name_too() -> None:
    for field, value in (("tools", [{"type": "function"}]), ("response_format", {"type": "json_object"}), ("logprobs", True)):
        assert refused(ChatRequest, {"messages": USER, field: value})[1:] == (field, "unsupported_parameter")


def test_what_clients_send_by_habit_is_accepted() -> None:
    fields = {
        "n": 1,
        "presence_penalty": 0.0,
        "logprobs": False,
        "logit_bias": {},
        "user": "me",
        "metadata": {"a": "b"},
        "seed": None,
    }
    request = read(ChatRequest, json.dumps({"model": "m", "messages": USER, "store": True, "tools": [], **fields}).encode())
    assert (request.model, request.messages[0].text, request.seed) == ("m", "hi", None)


def test_a_misspelt_field_is_an_error_that_names_the_right_one() -> None:
    message, param, code = refused(CompletionRequest, {"prompt": "x", "temprature": 0})
    assert message == "unknown field 'temprature'; did you mean 'temperature'?"
    assert (param, code) == ("temprature", "unknown_parameter")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"prompt": "x", "temperature": NaN}', "NaN is no number in JSON"),
        (b'{"prompt": "\\ud800"}', "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"{}", "prompt is missing"),
        (b'{"prompt": "x", "temperature": 1e999}', "finite"),
    ],
)
def test_a_body_that_is_no_request_says_so(body: bytes, words: str) -> None:
    assert words in refused(CompletionRequest, body)[0]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "messages list should have at least 1 item"),
        ("hi", "messages should be a valid list"),
        ([{"role": "user"}], "messages[0].content is missing"),
        ([{"role": "tool", "content": "x"}], "messages[0].role should be 'system', 'developer', 'user' or 'assistant'"),
        ([{"role": "user", "content": None}], "messages[0].content should be a valid list"),
        (
            [*USER, {"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            "messages[1].content[0].type should be 'text'",
        ),
    ],
)
def test_a_message_that_cannot_be_read_is_named(messages: Any, words: str) -> None:
    message, param, _ = refused(ChatRequest, {"messages": messages})
    assert message.startswith(words)
    assert param == "messages"


def test_a_prompt_comes_as_text_or_ids_alone_or_as_the_one_of_a_list() -> None:
    read_prompts = [
        read(CompletionRequest, json.dumps({"prompt": prompt}).encode()).prompt for prompt in ("x", ["x"], [1, 2], [[1, 2]], "")
    ]
    assert read_prompts == ["x", "x", [1, 2], [1, 2], ""]


def test_content_in_parts_is_one_text() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    request = read(ChatRequest, json.dumps({"messages": [{"role": "user", "content": parts}]}).encode())
    assert request.messages[0].text == "one two"


def test_texts_to_classify_have_bounds() -> None:
    assert read(ClassificationRequest, b'{"input": "x"}').input == ["x"]
    assert "at least 1 item" in refused(ClassificationRequest, {"input": []})[0]
    assert "at most 256 items" in refused(ClassificationRequest, {"input": ["x"] * 257})[0]
    assert refused(ClassificationRequest, {"input": ["x", 3]})[0] == "input[1] should be a valid string, not 3"
