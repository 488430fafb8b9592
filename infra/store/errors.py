"""Errors a person can act on: what is wrong, where, and how to mend it.

The command line turns each into one sentence, or one JSON document, and an exit code. They are
the ground floor because every room raises them.
"""

from typing import ClassVar


class SlipwayError(Exception):
    """Something failed that a person should read about in one sentence, without a traceback."""

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        super().__init__(what, where, mend)  # positional, so that it survives pickling between processes
        self.what, self.where, self.mend = what, where, mend

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.mend)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n{self.mend}" if self.mend else head

    def document(self) -> dict[str, dict[str, str]]:
        """The JSON document that `--json` prints on failure."""
        return {"error": {"code": self.code, "what": self.what, "where": self.where, "mend": self.mend}}


class InputError(SlipwayError):
    """Bad input or usage: the user can mend it."""

    code = "bad-input"
    exit_code = 2


class DamagedError(InputError):
    """A stored file is not what its manifest says."""

    code = "damaged"


class StoreError(InputError):
    """The store cannot be read or written."""

    code = "store"


class NotFoundError(StoreError):
    """No such name in the store."""

    code = "not-found"


class RefusedError(SlipwayError):
    """A gate or a review said no."""

    code = "refused"
    exit_code = 3


class AwaitingReviewError(SlipwayError):
    """Nothing failed: a person has to decide before it goes on."""

    code = "awaiting-review"
    exit_code = 4


class LeaseHeldError(SlipwayError):
    """Somebody else is at work on the same thing."""

    code = "lease-held"
    exit_code = 5


class LeaseLostError(SlipwayError):
    """Our lease ran out and somebody else took over: what we have may not be published."""

    code = "lease-lost"
    exit_code = 5


def _rebuild(cls: type[SlipwayError], what: str, where: str, mend: str) -> SlipwayError:
    return cls(what, where=where, mend=mend)
