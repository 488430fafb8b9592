"""Files of a source looked at again: are they still what a corpus was made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from infra.store.errors import SlipwayError
from llm.data import stdlib
from llm.data.config import PYTHON_STDLIB

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


def look_again(kind: str, path: str | Mapping[str, str], hashes: Mapping[str, str]) -> Found:
    """Reads the files of these names (with the sha256 they had) at the source once more.

    kind: as `llm.data.reading.found.Kind` has it; of `stdlib` no path is read, of a mixture the path of each source by its name.
    Raises nothing: a source may have gone its way.
    """
    from llm.data.reading.inspect import inspect  # pyarrow: a chain that is only told does without

    try:
        if kind == "stdlib":
            return _compared_with(hashes, {file.name: (file.sha256, file.bytes) for file in stdlib.files()}, stdlib.interpreter())
        if isinstance(path, str):
            return _compared_with(hashes, {file.name: (file.sha256, file.bytes) for file in inspect(path).files})
        each = {name: inspect(where or PYTHON_STDLIB) for name, where in path.items()}
        now = {f"{name}/{file.name}": (file.sha256, file.bytes) for name, one in each.items() for file in one.files}
        return _compared_with(hashes, now, next((one.interpreter for one in each.values() if one.interpreter), ""))
    except SlipwayError as error:
        return Found(why_not=error.what)
    except OSError as error:
        return Found(why_not=f"cannot be read ({error.strerror})")


def _compared_with(hashes: Mapping[str, str], now: Mapping[str, tuple[str, int]], interpreter: str = "") -> Found:
    """now: sha256 and bytes of every file that is there."""
    states: dict[str, State] = {
        name: "missing" if name not in now else "same" if now[name][0] == known else "changed" for name, known in hashes.items()
    }
    return Found(states, sum(now[name][1] for name in hashes if name in now), interpreter)
