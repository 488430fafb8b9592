"""How far a training is, in words, and how long it takes still."""

from time import monotonic
from typing import Final

from llm.events import StepDone

_WORTH_SAYING: Final = 0.01  # of a step's time


class Pace:
    """Seconds still to go, from the steps made here: those before a resume took their time elsewhere."""

    def __init__(self) -> None:
        self._began, self._first = 0.0, 0

    def __call__(self, done: StepDone) -> float | None:
        """None until a second step is made."""
        now = monotonic()
        if not self._first or done.step <= self._first:
            self._began, self._first = now, done.step
            return None
        return (now - self._began) / (done.step - self._first) * (done.steps - done.step)


def step_words(done: StepDone) -> str:
    """One line: where it is, the loss, how fast, and what holds it up where something does."""
    words = [f"step {done.step:,}/{done.steps:,}", f"loss {done.loss:.3f}", f"{done.tokens_per_second:,.0f} tokens/s"]
    if done.mfu is not None:
        words.append(f"MFU {done.mfu:.0%}")
    if done.data_wait_share >= _WORTH_SAYING:
        words.append(f"{done.data_wait_share:.0%} waiting for data")
    return "  ".join(words)
