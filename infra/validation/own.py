"""Expectations of one's own: a function, or an expectation of Great Expectations, in any Python module that a recipe names.

    # my_gates.py
    from infra.validation import expectation, gx_expectation

    @expectation("max_shouting_share", 0.1, words="share of sampled documents in capitals", severity="warn")
    def shouting(profile, sample):
        return sample["head"].str.isupper()

    no_lorem = gx_expectation(
        "no_lorem_ipsum",
        lambda gx: gx.expectations.ExpectColumnValuesToNotMatchRegex(column="head", regex="(?i)lorem ipsum", mostly=0.99),
        words="sampled documents are not filler",
    )

`SLIPWAY_EXPECTATIONS=my_gates` (a module, or the path of a .py file; several with commas), or `modules` among a recipe's
expectations, makes them count. A function is given the profile's numbers and a data frame of rows drawn at random (`id`,
`source`, `bytes`, `head`: the text's first 1,000 characters, ...). It returns a number, or a boolean for each of the rows: then
their share is judged, and the first of them are shown.
"""

import difflib
import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

from infra.store.errors import InputError
from infra.validation.suites import KINDS, MEASURES, SEVERITY, Kind, Severity, Suite, bound_of

VARIABLE: Final = "SLIPWAY_EXPECTATIONS"
Function = Callable[[Mapping[str, float], Any], Any]


@dataclass(frozen=True)
class Own:
    """One of them: `function` gives a number that `limit` bounds, or `expectation` makes one of Great Expectations' on `table`."""

    name: str
    words: str
    suite: Suite
    severity: Severity
    kinds: tuple[Kind, ...]
    limit: float | None = None
    function: Function | None = None
    expectation: Callable[[Any], Any] | None = None
    table: Literal["profile", "sample"] = "sample"

    def __call__(self, profile: Mapping[str, float], sample: Any) -> Any:
        """The function itself, for a test of it."""
        if self.function is None:
            raise TypeError(f"{self.name} is an expectation of Great Expectations, not a function")
        return self.function(profile, sample)


def expectation(
    name: str,
    limit: float,
    *,
    words: str = "",
    suite: Suite = "quality",
    severity: Severity | None = None,
    kinds: Sequence[Kind] = KINDS,
) -> Callable[[Function], Own]:
    """Makes a function an expectation: `min_X` or `max_X` bounds what it returns by `limit`, inclusive."""
    side, number = bound_of(name)
    if not side or number in MEASURES:
        taken = "is one of Slipway's own; bound that in the recipe" if number in MEASURES else "begins with neither min_ nor max_"
        raise InputError(f"the name {taken}", where=f"expectation {name}", mend="Call it max_X or min_X, for an X of yours.")

    def made(function: Function) -> Own:
        said = words or number.replace("_", " ")
        return Own(name, said, suite, severity or SEVERITY[suite], tuple(kinds), float(limit), function)

    return made


def gx_expectation(
    name: str,
    expectation: Callable[[Any], Any],
    *,
    words: str,
    suite: Suite = "quality",
    severity: Severity | None = None,
    kinds: Sequence[Kind] = KINDS,
    table: Literal["profile", "sample"] = "sample",
) -> Own:
    """One of Great Expectations' own, or of a class of yours. `expectation` makes it of the library, which is handed in: so a
    module of expectations imports in no time.
    """
    return Own(name, words, suite, severity or SEVERITY[suite], tuple(kinds), expectation=expectation, table=table)


def named_modules(said: Iterable[str] = ()) -> list[str]:
    """What a recipe names, then what the environment does, each once."""
    names = [*said, *os.environ.get(VARIABLE, "").split(",")]
    return list(dict.fromkeys(name.strip() for name in names if name.strip()))


def load(modules: Iterable[str], kind: Kind) -> list[Own]:
    """What these modules define for a kind. Raises InputError for one that cannot be imported, holds none, or says a name twice."""
    found: dict[str, Own] = {}
    for name in modules:
        mine = [value for value in vars(_import(name)).values() if isinstance(value, Own)]
        if not mine:
            raise InputError("defines no expectation", where=name, mend="See `expectation` in infra/validation/own.py.")
        for each in mine:
            if found.setdefault(each.name, each) is not each:
                raise InputError(f"{each.name} is defined twice", where=name, mend="Give one of them another name.")
    return [each for each in found.values() if kind in each.kinds]


def _import(name: str) -> ModuleType:
    mend = f"Name a Python module or a .py file in the recipe's expectations.modules or in {VARIABLE}."
    try:
        if not name.endswith(".py"):
            return importlib.import_module(name)
        path = Path(name).expanduser().absolute()
        if not path.is_file():
            near = difflib.get_close_matches(path.name, [each.name for each in path.parent.glob("*.py")], 1)
            raise InputError(f"no such file{f'; did you mean {near[0]}?' if near else ''}", where=name, mend=mend)
        known = f"slipway_expectations_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
        spec = importlib.util.spec_from_file_location(known, path)
        assert spec and spec.loader
        module = sys.modules[known] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"cannot be imported ({type(error).__name__}: {error})", where=name, mend=mend) from error
