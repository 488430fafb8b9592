"""What a thing is, as one hash. The encoding refuses what it does not know instead of guessing."""

import dataclasses
import hashlib
import json
import math
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, Final, get_type_hints

from infra.store.errors import SlipwayError


class Runtime:
    """Marks a field that does not bear on the result: where and on how many machines, never what.

    Used as `workers: Annotated[int, RUNTIME] = 0`; `identity` leaves such a field out.
    """


RUNTIME: Final = Runtime()


class NoIdentityError(SlipwayError):
    """A value whose identity cannot be told, for example a path: our own mistake, never the user's."""

    code = "no-identity"


def identity(value: Any, where: str = "value") -> Any:
    """`value` as plain JSON data, without its RUNTIME fields.

    Takes None, bool, int, finite float, str, date, Enum, list, tuple, mapping with str keys, dataclass instance and pydantic
    model. Raises NoIdentityError naming the place for anything else: a path, an object with an address for a name.
    """
    if isinstance(value, Enum):
        return identity(value.value, where)
    if value is None or isinstance(value, bool | int | str):
        return value
    if type(value) is date:  # a time of day has no place in a key
        return value.isoformat()
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NoIdentityError(f"{value} has no place in a key", where=where)
        return int(value) if value.is_integer() and abs(value) < 2**53 else value  # 1 and 1.0 are one setting
    if isinstance(value, list | tuple):
        return [identity(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, dict):
        if bad := [key for key in value if not isinstance(key, str)]:
            raise NoIdentityError(f"key {bad[0]!r} is not a string", where=where)
        return {key: identity(item, f"{where}.{key}") for key, item in sorted(value.items())}
    if (names := _field_names(value)) is not None:
        hints = get_type_hints(type(value), include_extras=True)
        kept = [name for name in names if RUNTIME not in getattr(hints[name], "__metadata__", ())]
        return {name: identity(getattr(value, name), f"{where}.{name}") for name in sorted(kept)}
    kind = "a path" if isinstance(value, Path) else f"a {type(value).__name__}"
    raise NoIdentityError(f"{kind} cannot be part of a key", where=where, mend="Mark the field RUNTIME, or use its content's hash.")


def canonical(value: Any) -> bytes:
    """The one spelling of `identity(value)`, to be hashed."""
    return json.dumps(identity(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def fingerprint(value: Any) -> str:
    """sha256 of the canonical encoding, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _field_names(value: Any) -> list[str] | None:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [field.name for field in dataclasses.fields(value)]
    fields = getattr(type(value), "model_fields", None)  # a pydantic model, known by its shape: this floor imports no pydantic
    return list(fields) if isinstance(fields, dict) else None
