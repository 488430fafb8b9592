"""A Llama's counts are true, a cache changes nothing, and a saved one comes back bit for bit."""

import math
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from infra.store.errors import DamagedError
from llm.models.config import LlamaConfig
from llm.models.hub import load_model, save_model
from llm.models.hub_config import load_config
from llm.models.llama import Llama
from llm.models.presets import PRESETS

TINY = cast(LlamaConfig, PRESETS["llama-tiny"])


def random_model(config: LlamaConfig) -> Llama:
    model = Llama(config).eval()
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("pieces", [[20], [1] * 20, [7, 1, 12]])
def test_decoding_with_a_cache_gives_the_logits_of_the_full_forward(pieces: list[int]) -> None:
    model, ids = random_model(TINY), torch.arange(40).reshape(2, 20)
    cache = model.cache(2, 20)
    with torch.no_grad():
        parts = torch.cat([model(part, cache) for part in ids.split(pieces, dim=1)], dim=1)
        torch.testing.assert_close(parts, model(ids), atol=1e-5, rtol=1e-5)
    assert cache.length == 20


def test_the_flops_of_a_plan_are_those_torch_counts() -> None:
    model = Llama(TINY)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 64, dtype=torch.int64)).sum().backward()
    assert counter.get_total_flops() == TINY.flops_per_token(0) * 64  # torch does not count attention on a CPU
    assert TINY.flops_per_token(64) - TINY.flops_per_token(0) == 6 * TINY.n_layers * TINY.width * 64


def test_a_saved_model_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model = random_model(replace(TINY, tied=False))
    save_model(model, tmp_path, end_of_text=0)
    again = load_model(tmp_path)
    assert load_config(tmp_path) == model.config
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_a_fresh_model_predicts_nothing_yet_and_the_same_nothing_each_time() -> None:
    first, second = Llama(TINY), Llama(TINY)
    ids = torch.arange(64)[None]
    loss = torch.nn.functional.cross_entropy(first(ids)[0, :-1], ids[0, 1:])
    assert loss.item() == pytest.approx(math.log(512), rel=0.02)
    assert torch.equal(first(ids), second(ids))


def test_weights_cut_short_are_named(tmp_path: Path) -> None:
    save_model(random_model(TINY), tmp_path, end_of_text=0)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedError, match=r"model\.safetensors"):
        load_model(tmp_path)
