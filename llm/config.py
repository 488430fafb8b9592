"""How a configuration is written: frozen dataclasses whose fields carry their bounds, checked all at once."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints


@dataclass(frozen=True)
class Bounds:
    """Limits of a number, as in `steps: Annotated[int, Bounds(ge=1)]`.

    `problems` checks them here; pydantic reads them too, so that a form in the Prefect UI shows and enforces the same.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def given(self) -> dict[str, float]:
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        schema = handler(source)
        if schema["type"] == "nullable":
            return {**schema, "schema": {**schema["schema"], **self.given()}}
        return {**schema, **self.given()}


@dataclass(frozen=True)
class Count:
    """In a form, a whole number from 0: of a field that takes something else too, which a form cannot show."""

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "integer", "minimum": 0}


_TESTS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "ge": (lambda value, limit: value >= limit, "at least"),
    "gt": (lambda value, limit: value > limit, "more than"),
    "le": (lambda value, limit: value <= limit, "at most"),
    "lt": (lambda value, limit: value < limit, "less than"),
}


def out_of_bounds(config: Any, where: str = "") -> list[str]:
    """Every field of a configuration, and of those within it, that breaks its bounds: one phrase each."""
    problems: list[str] = []
    for name, hint in get_type_hints(type(config), include_extras=True).items():
        value, place = getattr(config, name), f"{where}{name}"
        if dataclasses.is_dataclass(value):
            problems += out_of_bounds(value, f"{place}.")
        for bounds in getattr(hint, "__metadata__", ()):
            if isinstance(bounds, Bounds) and value is not None:
                problems += [
                    f"{place} is {value}, it must be {_TESTS[kind][1]} {limit:g}"
                    for kind, limit in bounds.given().items()
                    if not _TESTS[kind][0](value, limit)
                ]
    return problems
