"""Files of a source looked at again: are they still what a corpus was made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from infra.store.errors import SlipwayError
from infra.store.manifest import sha256
from llm.data import stdlib
from llm.data.sources import source_files

State = Literal["same", "changed", "missing"]


@dataclass(frozen=True)
class Found:
    """A source as it is now: the state of each file that a corpus names, and the bytes read again.

    `why_not` says why it could not be read at all; `interpreter` is the present one, of the standard library.
    """

    states: Mapping[str, State] = field(default_factory=dict)
    bytes: int = 0
    interpreter: str = ""
    why_not: str = ""


def look_again(kind: str, path: str, hashes: Mapping[str, str]) -> Found:
    """Reads the files of these names (with the sha256 they had) at the source once more.

    kind: `stdlib`, for which no path is read, `file` or `folder`. Raises nothing: a source may have gone its way.
    """
    try:
        if kind == "stdlib":
            now = {file.name: (file.sha256, file.bytes) for file in stdlib.files() if file.name in hashes}
            return Found(_states(hashes, now), _bytes(now), stdlib.interpreter())
        places = source_files(path)
        now = {name: (sha256(places[name]), places[name].stat().st_size) for name in hashes if name in places}
        return Found(_states(hashes, now), _bytes(now))
    except SlipwayError as error:
        return Found(why_not=error.what)
    except OSError as error:
        return Found(why_not=f"cannot be read ({error.strerror})")


def _states(hashes: Mapping[str, str], now: Mapping[str, tuple[str, int]]) -> dict[str, State]:
    return {name: "missing" if name not in now else _compared(known, now[name][0]) for name, known in hashes.items()}


def _compared(known: str, actual: str) -> State:
    return "same" if actual == known else "changed"


def _bytes(now: Mapping[str, tuple[str, int]]) -> int:
    return sum(size for _, size in now.values())
