"""From a request to the work it asks of a package; whatever cannot be done is refused here, before it takes a place."""

import secrets
from collections.abc import Iterator

from llm.models.classifier import Classifier, encode
from llm.serving.errors import ApiError, invalid, too_long
from llm.serving.package import Package
from llm.serving.requests import ChatRequest, ClassificationRequest, CompletionRequest, Generating
from llm.serving.work import Event, Question, classification, continuation
from llm.text.chat import Message
from llm.text.special import DoubledBosError, check_single_bos


def check_name(package: Package, asked: str | None) -> None:
    """A client may leave the name out; another name is an error, never another model's answer."""
    if asked is not None and asked != package.name:
        raise ApiError(404, f"no model {asked!r} is served here, but {package.name!r}", param="model", code="model_not_found")


def completion(package: Package, request: CompletionRequest) -> Iterator[Event]:
    """A text goes on from the prompt, which stands where a document starts; ids are taken as they are. Raises ApiError."""
    check_name(package, request.model)
    size = package.tokenizer.size
    if isinstance(request.prompt, str):
        prompt = package.start_ids(request.prompt)
    elif wrong := [index for index in request.prompt if not 0 <= index < size]:
        raise invalid(f"token {wrong[0]} is none of the tokenizer's {size:,}", "prompt", "invalid_value")
    else:
        prompt = request.prompt
        try:
            check_single_bos(package.tokenizer, prompt)
        except DoubledBosError as error:
            raise invalid(error.what, "prompt", "doubled_bos") from None
    return _continue(package, request, prompt, request.max_tokens, (package.tokenizer.eos,), "prompt")


def chat(package: Package, request: ChatRequest) -> Iterator[Event]:
    """The assistant's next message; without a limit it may fill the context. Raises ApiError."""
    check_name(package, request.model)
    if isinstance(package.model, Classifier):
        raise _writes_no_text(package)
    if package.chat is None:
        raise invalid(
            f"{package.name} has no chat template: it continues text and was not taught to chat. Ask /v1/completions.",
            "model",
            "no_chat_template",
        )
    messages: list[Message] = [
        {"role": "system" if message.role == "developer" else message.role, "content": message.text} for message in request.messages
    ]
    limit = request.max_completion_tokens or request.max_tokens or package.context_length
    return _continue(package, request, package.chat.prompt_ids(messages), limit, package.chat.stop, "messages")


def classify(package: Package, request: ClassificationRequest) -> Iterator[Event]:
    """Raises ApiError."""
    check_name(package, request.model)
    if not isinstance(package.model, Classifier):
        ways = "/v1/completions" if package.chat is None else "/v1/completions or /v1/chat/completions"
        raise invalid(f"{package.name} is no classifier: it writes text. Ask {ways}.", "model", "wrong_kind")
    return classification(package.model, [encode(package.tokenizer, text, package.context_length) for text in request.input])


def _continue(
    package: Package, request: Generating, prompt: list[int], limit: int, stop_ids: tuple[int, ...], param: str
) -> Iterator[Event]:
    if isinstance(package.model, Classifier):
        raise _writes_no_text(package)
    if not prompt:
        raise invalid("the prompt has no tokens", param, "invalid_value")
    if len(prompt) >= package.context_length:
        raise too_long(len(prompt), package.context_length, param)
    question = Question(
        prompt=prompt,
        max_tokens=limit,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        repetition_penalty=request.repetition_penalty,
        seed=secrets.randbits(63) if request.seed is None else request.seed,
        stop_ids=frozenset(stop_ids),
        stop=request.stop,
    )
    return continuation(package.model, package.tokenizer, question)


def _writes_no_text(package: Package) -> ApiError:
    return invalid(f"{package.name} is a classifier and writes no text. Ask /v1/classifications.", "model", "wrong_kind")
