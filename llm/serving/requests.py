"""What clients may send: OpenAI's fields with bounds; what cannot be honoured is refused by name, never ignored."""

import difflib
import json
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from llm.serving.errors import ApiError, invalid

_HARMLESS: Final = frozenset(
    [
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prediction",
        "verbosity",
        "reasoning_effort",
        "parallel_tool_calls",
    ]
)
"""Fields of OpenAI's that bear on no answer given here."""

_NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "logprobs": (False,),
    "top_logprobs": (),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "min_p": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
}
"""Fields of OpenAI's that are not implemented, and the values that ask for nothing."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_parts(value: object) -> object:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


def _one_prompt(value: object) -> object:
    """A list of prompts is taken when it holds one: `["text"]` or `[[1, 2]]`."""
    if isinstance(value, list) and value and isinstance(value[0], str | list):
        if len(value) > 1:
            raise ValueError(f"must be one prompt a request, not {len(value)}")
        return value[0]
    if (not value and value != "") or not isinstance(value, str | list):
        raise ValueError("must be a text, or a list of token ids")
    return value


Texts = Annotated[list[str], BeforeValidator(_as_list)]
Stop = Annotated[str, Field(min_length=1)]


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True)
    include_usage: bool = False


class Asked(BaseModel):
    """Every request may name the model."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    model: str | None = None


class Generating(Asked):
    """How an answer is chosen and where it ends. top_k and repetition_penalty are not OpenAI's, but vLLM's too."""

    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int | None = Field(None, ge=1)
    repetition_penalty: float = Field(1.0, gt=0, le=10)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Annotated[list[Stop], BeforeValidator(_as_list), Field(max_length=4)] = Field(default_factory=list)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()


class CompletionRequest(Generating):
    prompt: Annotated[str | list[int], BeforeValidator(_one_prompt)]
    max_tokens: int = Field(16, ge=1)


class TextPart(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    model_config = ConfigDict(strict=True)
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[TextPart], BeforeValidator(_as_parts)]

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content)


class ChatRequest(Generating):
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)


class ClassificationRequest(Asked):
    input: Annotated[Texts, Field(min_length=1, max_length=256)]


Request = TypeVar("Request", bound=Asked)


def read(schema: type[Request], body: bytes) -> Request:
    """The request a body holds. Raises ApiError (400) naming the first field that is wrong."""
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
        if b"\\ud" in body.lower():  # half of a pair of escapes is no text, and no tokenizer takes it
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise invalid(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise invalid("the body is not a JSON object")
    fields = {name: value for name, value in document.items() if value is not None and name not in _HARMLESS}
    for name in fields.keys() & _NEUTRAL.keys() - schema.model_fields.keys():
        value = fields.pop(name)
        if not any(value == neutral and isinstance(value, bool) == isinstance(neutral, bool) for neutral in _NEUTRAL[name]):
            raise invalid(f"{name} is not supported by this server: leave it out", name, "unsupported_parameter")
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        raise _problem(error, schema) from None


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number in JSON")


def _problem(error: ValidationError, schema: type[Asked]) -> ApiError:
    """The first problem, in words."""
    first = error.errors(include_url=False)[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"] if part not in {"str", "list[int]"}
    )
    path = path.removeprefix(".")
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(field, schema.model_fields, n=1)
        return invalid(f"unknown field {path!r}" + (f"; did you mean {near[0]!r}?" if near else ""), field, "unknown_parameter")
    if first["type"] == "missing":
        return invalid(f"{path} is missing", field, "missing_required_parameter")
    given = "" if isinstance(first["input"], dict | list) else f", not {_shortened(first['input'])}"
    message = first["msg"].removeprefix("Input ").removeprefix("Value error, ").replace(" after validation", "")
    return invalid(f"{path} {message[0].lower()}{message[1:]}{given}", field, "invalid_value")


def _shortened(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."
