"""What a client reads when something is wrong: OpenAI's error document and the status that its client library expects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from infra.store.errors import InputError, SlipwayError
from llm.serving.engine import DrainingError, QueueFullError

RETRY_AFTER_S: Final = 1


@dataclass(eq=False)
class ApiError(Exception):
    """An answer other than 200. kind: what OpenAI calls the error's type."""

    status: int
    message: str
    kind: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    return ApiError(400, message, param=param, code=code)


def too_long(prompt_tokens: int, context_length: int, param: str) -> ApiError:
    return invalid(
        f"this model's context is {context_length:,} tokens, and the prompt alone has {prompt_tokens:,}: "
        "at least one must be left for the answer",
        param,
        "context_length_exceeded",
    )


def api_error(error: SlipwayError) -> ApiError:
    """What one of our own errors is to a client."""
    message = " ".join(part for part in (error.what, error.mend) if part)
    if isinstance(error, InputError):
        return invalid(message)
    if isinstance(error, QueueFullError):
        return ApiError(429, message, "rate_limit_error", code="queue_full", headers={"Retry-After": str(RETRY_AFTER_S)})
    if isinstance(error, DrainingError):
        # The connection must not be kept: the next request on it would come here again.
        headers = {"Retry-After": str(RETRY_AFTER_S), "Connection": "close"}
        return ApiError(503, message, "server_error", code="draining", headers=headers)
    return ApiError(500, message, "server_error", code=error.code.replace("-", "_"))
