"""What clients get: OpenAI's documents, whole or as chunks of a stream."""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llm.serving.work import Classified, Finished

DONE: Final = b"data: [DONE]\n\n"
# Some clients split a stream at every line end that Unicode knows.
_LINE_ENDS: Final = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def sent_event(document: dict[str, Any]) -> bytes:
    """One event of a stream (server-sent events)."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).translate(_LINE_ENDS)
    return f"data: {text}\n\n".encode()


@dataclass(frozen=True)
class Answer:
    """The documents of one answer, to a chat or a text to complete."""

    model: str
    fingerprint: str
    chat: bool
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, finished: Finished) -> dict[str, Any]:
        said: dict[str, Any] = {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}
        return self._document("chat.completion", [_choice(said, finished.reason)]) | {"usage": usage(finished)}

    def first(self) -> list[dict[str, Any]]:
        """A chat's stream begins with who speaks."""
        return [self._chunk({"delta": {"role": "assistant", "content": ""}})] if self.chat else []

    def piece(self, text: str) -> dict[str, Any]:
        return self._chunk({"delta": {"content": text}} if self.chat else {"text": text})

    def last(self, finished: Finished, include_usage: bool) -> list[dict[str, Any]]:
        end = self._chunk({"delta": {}} if self.chat else {"text": ""}, finished.reason)
        counted = self._document("chat.completion.chunk", []) | {"usage": usage(finished)}
        return [end, counted] if include_usage else [end]

    def _chunk(self, said: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return self._document("chat.completion.chunk", [_choice(said, reason)])

    def _document(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{self.id}",
            "object": kind if self.chat else "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        }


def usage(finished: Finished) -> dict[str, int]:
    total = finished.prompt_tokens + finished.completion_tokens
    return {"prompt_tokens": finished.prompt_tokens, "completion_tokens": finished.completion_tokens, "total_tokens": total}


def classifications(model: str, found: Sequence[Classified]) -> dict[str, Any]:
    tokens = sum(each.tokens for each in found)
    data = [
        {
            "index": each.index,
            "label": each.label,
            "probability": each.probabilities[each.label],
            "probabilities": dict(each.probabilities),
        }
        for each in found
    ]
    return {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def _choice(said: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"index": 0, **said, "logprobs": None, "finish_reason": reason}
