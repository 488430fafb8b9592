"""A flow's form in Prefect's pages: the JSON schema of its recipe, put so that a person can read it."""

import re
from collections.abc import Mapping
from typing import Any

from prefect import Flow
from prefect.utilities.callables import parameter_schema

_WORDS = {"ngram": "n-gram", "pii": "PII", "html": "HTML"}


def form(flow: Flow[..., Any]) -> dict[str, Any]:
    """The schema by which the page draws the form and the server refuses wrong values."""
    schema = parameter_schema(flow).model_dump(exclude_unset=True)
    _put_in_order(schema)
    for definition in schema.get("definitions", {}).values():
        _put_in_order(definition)
    return schema


def filled(recipe: Mapping[str, Any], flow: Flow[..., Any]) -> dict[str, Any]:
    """The flow's parameters: every flow takes one, its recipe."""
    (name,) = flow.parameters.properties
    return {name: recipe}


def _put_in_order(model: dict[str, Any]) -> None:
    """Titles as sentences, and an order that survives a database which sorts keys."""
    for position, (name, field) in enumerate(model.get("properties", {}).items()):
        field.setdefault("position", position)
        if field.get("title", "").lower().replace(" ", "_") in (name, ""):  # made from the name: a title that was given stays
            field["title"] = title(name)


def title(name: str) -> str:
    """`max_document_bytes` -> Max document bytes."""
    words = " ".join(_WORDS.get(word, word) for word in re.split("_+", name))
    return words[:1].upper() + words[1:]
