"""What a form shows of a recipe: every field explained, in order, with limits and choices, and nothing that renders badly."""

from collections.abc import Iterator
from typing import Any

import pytest

from flows.catalog import FLOWS
from flows.forms import filled, form, title
from flows.recipes.loading import load_recipe, starting_values
from infra.store.errors import InputError
from llm.models.presets import PRESETS


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, model in [("", schema), *schema["definitions"].items()]:
        for field, described in model["properties"].items():
            yield f"{name}.{field}", described


@pytest.mark.parametrize("flow", FLOWS)
def test_every_field_is_explained_and_none_is_a_union(flow: str) -> None:
    schema = form(FLOWS[flow].load())
    for name, field in fields(schema):
        if "$ref" not in field:
            assert field.get("title"), name
        model = schema["definitions"].get(field.get("$ref", "").rpartition("/")[2], {})
        assert field.get("description") or model.get("description"), name
        assert not {"anyOf", "oneOf", "allOf"} & field.keys(), name
        assert isinstance(field["position"], int), name


@pytest.mark.parametrize("flow", FLOWS)
def test_a_form_is_filled_in_with_values_that_it_takes(flow: str) -> None:
    from prefect.utilities.schema_tools.validation import validate  # as the server does for a deployment

    loaded = FLOWS[flow].load()
    values = starting_values(FLOWS[flow].recipe, "tiny")
    assert validate(filled(values, loaded), form(loaded), ignore_required=True) == []
    try:
        recipe = load_recipe(FLOWS[flow].recipe, "tiny")
    except InputError:  # a field that only the user can know
        assert any(field.is_required() for field in FLOWS[flow].recipe.model_fields.values())
    else:
        assert recipe.model_dump(mode="json") == values


def test_limits_and_choices_of_the_configuration_stand_in_the_form() -> None:
    schema = form(FLOWS["lifecycle"].load())
    described = dict(fields(schema))
    assert described["TrainingConfig.batch_size"] | {"minimum": 1, "title": "Batch size"} == described["TrainingConfig.batch_size"]
    assert described["DataConfig.test_share"]["exclusiveMaximum"] == 0.5
    assert described["ModelConfig.preset"]["enum"] == list(PRESETS)
    assert described["LifecycleRecipe.data"]["title"] == "Data"
    positions = [field["position"] for name, field in described.items() if name.startswith("LifecycleRecipe.")]
    assert positions == sorted(positions)


def test_a_name_becomes_a_title() -> None:
    assert title("max_document_bytes") == "Max document bytes"
    assert title("beat_ngram") == "Beat n-gram"
