"""Rotary positions in a `config.json`: `rope_theta` and `rope_scaling`, or both in transformers 5's `rope_parameters`."""

from typing import Any, Final

from llm.models.config import RopeScaling
from llm.models.hub_fields import Fields

ROPE_FIELDS: Final = frozenset({"rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor"})
_NAMES: Final = {
    "factor": "factor",
    "low_freq_factor": "low_frequency_factor",
    "high_freq_factor": "high_frequency_factor",
    "original_max_position_embeddings": "original_context_length",
}
_KINDS: Final[dict[str, tuple[str, ...]]] = {"default": (), "linear": ("factor",), "llama3": tuple(_NAMES)}
_GENERAL: Final = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "original_max_position_embeddings"}


def rope_of(read: Fields) -> tuple[float, RopeScaling | None]:
    """Base and scaling; what is not computed here goes to the fields' problems."""
    given = read.given
    for name in ("rope_parameters", "rope_scaling"):
        if given.get(name) is not None and not isinstance(given[name], dict):
            read.refuse(f"{name}={given[name]!r}")
            return 1.0, None
    rope: dict[str, Any] = {**(given.get("rope_parameters") or {}), **(given.get("rope_scaling") or {})}
    base = read.number_in(rope if rope.get("rope_theta") is not None else given, "rope_theta", 10_000.0)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    partial = rope.get("partial_rotary_factor", given.get("partial_rotary_factor"))
    if partial not in (None, 1):
        read.refuse(f"partial_rotary_factor={partial}")
    if kind not in _KINDS:
        read.refuse(f"rope type {kind!r}")
        return base, None
    for name, value in rope.items():
        if name not in _GENERAL and name not in _KINDS[kind] and value is not None:
            read.refuse(f"{name}={value!r} of the rope type {kind!r}")
    if missing := [name for name in _KINDS[kind] if rope.get(name) is None]:
        read.refuse(f"rope type {kind!r} without {', '.join(missing)}")
        return base, None
    values = {_NAMES[name]: read.number_in(rope, name, None) for name in _KINDS[kind]}
    if kind == "default":
        return base, None
    if "original_context_length" in values:
        values["original_context_length"] = int(values["original_context_length"])
    return base, read.checked(lambda: RopeScaling(kind=kind, **values))  # type: ignore[arg-type]


def rope_fields(base: float, scaling: RopeScaling | None) -> dict[str, Any]:
    """The layout of before transformers 5, which all readers know."""
    if scaling is None:
        return {"rope_theta": base}
    values = {theirs: getattr(scaling, _NAMES[theirs]) for theirs in _KINDS[scaling.kind]}
    return {"rope_theta": base, "rope_scaling": {"rope_type": scaling.kind, **values}}
