"""A preset is the model whose name it bears, to the last parameter."""

from dataclasses import replace

import pytest
import torch

from infra.store.errors import InputError
from llm.models.build import new_model
from llm.models.presets import PRESETS, preset

PUBLISHED = {
    "gpt2-124m": 124_439_808,
    "gpt2-355m": 354_823_168,
    "gpt2-774m": 774_030_080,
    "gpt2-1.5b": 1_557_611_200,
    "llama2-7b": 6_738_415_616,
    "llama3-8b": 8_030_261_248,
    "llama3.2-1b": 1_235_814_400,
    "llama3.2-3b": 3_212_749_824,
    "qwen3-0.6b": 596_049_920,
}
SMALL = {"llama-5m": 5_475_584, "llama-14m": 13_767_552, "gpt2-10m": 10_024_000}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_has_the_published_count_of_parameters(name: str) -> None:
    assert PRESETS[name].parameters() == PUBLISHED[name]


def test_the_small_presets_have_the_size_of_their_names() -> None:
    assert {name: PRESETS[name].parameters() for name in SMALL} == SMALL


@pytest.mark.parametrize("name", PRESETS)
def test_the_counts_of_a_plan_are_those_of_the_model(name: str) -> None:
    config = replace(PRESETS[name], n_layers=2)
    for shape in (config, replace(config, tied=not config.tied)):
        with torch.device("meta"):
            model = new_model(shape)
        assert shape.parameters() == sum(parameter.numel() for parameter in model.parameters())
        body = [*model.blocks.parameters(), *model.norm.parameters()]
        assert shape.body_parameters() == sum(parameter.numel() for parameter in body)
    with torch.device("meta"):
        model = new_model(config)
        cache = model.cache(1, 10)
    assert model.kv_bytes_per_token() * 10 == cache.keys.nbytes + cache.values.nbytes


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match="gpt2-124m"):
        preset("gpt-5", vocabulary=100, context_length=10)
