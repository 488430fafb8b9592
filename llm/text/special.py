"""Which tokens steer, and what stands around a sequence: said once, so that nothing is marked twice or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from infra.store.errors import InputError


class DoubledBosError(InputError):
    """A sequence begins with two tokens that begin a sequence: a model never saw that, and answers worse without a word."""

    code = "doubled-bos"


@dataclass(frozen=True)
class Special:
    """The ids that no text is encoded to, by their work.

    eos ends a document; bos begins a sequence, where `add_bos` says so; pad fills up a batch (eos where no token is kept for it)
    and is never learnt; unk stands for what a tokenizer cannot spell. add_eos: others, encoding a text, end it with eos.
    """

    eos: int
    bos: int | None
    pad: int
    unk: int | None
    add_bos: bool
    add_eos: bool


class Ends(Protocol):
    """What beginning a sequence asks of a tokenizer. bos: None where sequences begin without one."""

    @property
    def bos(self) -> int | None: ...
    @property
    def eos(self) -> int: ...


def started(tokenizer: Ends, ids: Sequence[int]) -> list[int]:
    """The ids where a document starts: after bos, or after the end of the document before where a tokenizer has no bos.

    Raises DoubledBosError where the ids have their bos already.
    """
    check_single_bos(tokenizer, ids, allowed=0)
    return [tokenizer.eos if tokenizer.bos is None else tokenizer.bos, *ids]


def document(tokenizer: Ends, ids: Sequence[int]) -> list[int]:
    """The ids of a whole document, one of a stream of them: after bos, where a tokenizer has one, and with eos at its end."""
    return [*(ids if tokenizer.bos is None else started(tokenizer, ids)), tokenizer.eos]


def check_single_bos(tokenizer: Ends, ids: Sequence[int], *, allowed: int = 1) -> None:
    """Raises DoubledBosError where more than `allowed` bos stand at the beginning."""
    if tokenizer.bos is not None and len(ids) > allowed and all(index == tokenizer.bos for index in ids[: allowed + 1]):
        raise DoubledBosError(
            f"the sequence would begin with bos (token {tokenizer.bos}) twice",
            where="tokens",
            mend="Give the ids of the text alone: bos is put before them here.",
        )
