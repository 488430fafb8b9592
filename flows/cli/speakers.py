"""Who answers in `slipway chat`: a package loaded into this process, or a server with OpenAI's interface."""

import ipaddress
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol

import httpx

from flows.cli.located import Located
from infra.store.errors import InputError, SlipwayError

Kind = Literal["assistant", "base", "classifier"]
Message = dict[str, str]
CONTEXT_EXCEEDED = "context_length_exceeded"
_TEMPERATURE, _MAX_TOKENS = 0.7, 128  # where the user names none; an assistant ends by itself, a base model does not


class ModelError(SlipwayError):
    """The model, or the server before it, refuses. `reason` is the code of OpenAI's error document."""

    code = "model"

    def __init__(self, what: str, *, where: str = "", mend: str = "", reason: str | None = None) -> None:
        super().__init__(what, where=where, mend=mend)
        self.reason = reason


@dataclass(frozen=True)
class Label:
    label: str
    probability: float
    probabilities: Mapping[str, float]


class Speaker(Protocol):
    """Says pieces of text as they come, or labels a text. Raises SlipwayError."""

    name: str
    kind: Kind

    def chat(self, messages: Sequence[Message], options: Mapping[str, Any]) -> Iterator[str]: ...
    def complete(self, prompt: str, options: Mapping[str, Any]) -> Iterator[str]: ...
    def classify(self, text: str) -> Label: ...


class Local:
    """A package in this process, its files checked first."""

    def __init__(self, located: Located, precision: Any) -> None:
        # torch and the model take seconds: not for a chat with a server
        from llm.serving import dispatch, errors, package, requests, work

        self._dispatch, self._requests, self._work, self._error = dispatch, requests, work, errors.ApiError
        self._package = package.load_package(located.folder, located.name, precision)
        self.name = located.name
        writes: Kind = "base" if self._package.chat is None else "assistant"
        self.kind: Kind = "classifier" if self._package.kind == "classifier" else writes

    def chat(self, messages: Sequence[Message], options: Mapping[str, Any]) -> Iterator[str]:
        request = {"messages": list(messages), "temperature": _TEMPERATURE, **options}
        return self._texts(self._dispatch.chat, self._requests.ChatRequest, request)

    def complete(self, prompt: str, options: Mapping[str, Any]) -> Iterator[str]:
        request = {"prompt": prompt, "temperature": _TEMPERATURE, "max_tokens": _MAX_TOKENS, **options}
        return self._texts(self._dispatch.completion, self._requests.CompletionRequest, request)

    def classify(self, text: str) -> Label:
        (found,) = self._events(self._dispatch.classify, self._requests.ClassificationRequest, {"input": text})
        return Label(found.label, found.probabilities[found.label], found.probabilities)

    def _texts(self, way: Any, schema: Any, request: Mapping[str, Any]) -> Iterator[str]:
        return (event.text for event in self._events(way, schema, request) if isinstance(event, self._work.Text) and event.text)

    def _events(self, way: Any, schema: Any, request: Mapping[str, Any]) -> Iterator[Any]:
        try:
            asked = self._requests.read(schema, json.dumps(request).encode())
            yield from way(self._package, asked)
        except self._error as error:
            raise ModelError(error.message, where=self.name, reason=error.code) from None


class Remote:
    """A server with OpenAI's interface; its key, where it wants one, is in OPENAI_API_KEY."""

    def __init__(self, url: str, model: str = "") -> None:
        root = url.rstrip("/").removesuffix("/v1")
        key = os.environ.get("OPENAI_API_KEY")
        self._url = url
        self._client = httpx.Client(
            base_url=root,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(300, connect=10),
            trust_env=not _is_loopback(root),  # a proxy of the user's does not know our loopback
        )
        served = self._about()
        self.name = model or served.get("model") or self._only_model()
        writes: Kind = "base" if served.get("chat") is False else "assistant"
        self.kind: Kind = "classifier" if served.get("kind") == "classifier" else writes

    def chat(self, messages: Sequence[Message], options: Mapping[str, Any]) -> Iterator[str]:
        for choice in self._stream("/v1/chat/completions", {"messages": list(messages), **options}):
            yield choice.get("delta", {}).get("content") or ""

    def complete(self, prompt: str, options: Mapping[str, Any]) -> Iterator[str]:
        for choice in self._stream("/v1/completions", {"prompt": prompt, "max_tokens": _MAX_TOKENS, **options}):
            yield choice.get("text") or ""

    def classify(self, text: str) -> Label:
        with self._asked("POST", "/v1/classifications", {"model": self.name, "input": text}) as response:
            (found,) = json.loads(response.read())["data"]
        return Label(found["label"], found["probability"], found["probabilities"])

    def _stream(self, path: str, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        with self._asked("POST", path, {"model": self.name, "stream": True, **request}) as response:
            for document in _documents(response.iter_bytes()):
                if "error" in document:
                    raise ModelError(str(document["error"].get("message")), where=self._url)
                yield from document.get("choices", [])

    def _about(self) -> dict[str, Any]:
        """What a server of ours says of itself; others have no such page, and are taken for assistants."""
        try:
            with self._asked("GET", "/version") as response:
                document = json.loads(response.read())
        except (ModelError, ValueError):
            return {}
        return document if isinstance(document, dict) and "kind" in document else {}

    def _only_model(self) -> str:
        with self._asked("GET", "/v1/models") as response:
            names = [str(each["id"]) for each in json.loads(response.read())["data"]]
        if len(names) != 1:
            named = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise InputError(f"the server has {len(names)} models", where=self._url, mend=f"Name one with --model: {named}.")
        return names[0]

    def _asked(self, method: str, path: str, request: Mapping[str, Any] | None = None) -> "_Asked":
        return _Asked(self._client, self._url, method, path, request)


@dataclass
class _Asked:
    """A request as a context; whatever is not an answer is an error in words."""

    client: httpx.Client
    url: str
    method: str
    path: str
    request: Mapping[str, Any] | None

    def __enter__(self) -> httpx.Response:
        self._context = self.client.stream(self.method, self.path, json=self.request)
        try:
            response = self._context.__enter__()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            mend = "Is the server up, and the address right?"
            raise InputError(f"no answer from the server ({error})", where=self.url, mend=mend) from None
        if response.status_code == 200:
            return response
        response.read()
        self._context.__exit__(None, None, None)
        raise _refusal(response, self.url)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._context.__exit__(kind, error, trace)
        if isinstance(error, httpx.HTTPError):
            raise ModelError(f"the answer broke off ({error})", where=self.url, mend="Ask again.") from None


def _refusal(response: httpx.Response, url: str) -> SlipwayError:
    try:
        error = json.loads(response.content)["error"]
        message, reason = str(error["message"]), error.get("code")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, reason = f"the server answers {response.status_code}", None
    if response.status_code in {401, 403}:
        return InputError(message, where=url, mend="Set OPENAI_API_KEY to the key of this server.")
    return ModelError(message, where=url, reason=reason)


def _documents(pieces: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON documents of a stream of server-sent events."""
    held = b""
    for piece in pieces:
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            data = line.removeprefix(b"data:").strip()
            if line.startswith(b"data:") and data != b"[DONE]":
                yield json.loads(data)


def _is_loopback(url: str) -> bool:
    host = httpx.URL(url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
