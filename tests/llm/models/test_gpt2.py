"""GPT-2 is a model like any other: packed documents do not see each other, a cache changes nothing, counts are true."""

from dataclasses import replace
from typing import cast

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from infra.store.errors import InputError
from llm.models.build import new_model
from llm.models.causal import CausalModel
from llm.models.config import GPT2Config
from llm.models.gpt2 import GPT2
from llm.models.presets import PRESETS
from llm.training.muon import Muon
from llm.training.optimizers import Together, make_optimizer

TINY = cast(GPT2Config, PRESETS["gpt2-tiny"])


def random_model(name: str) -> CausalModel:
    model = new_model(PRESETS[name]).eval()
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("pieces", [[20], [1] * 20, [7, 1, 12]])
@torch.no_grad()
def test_decoding_with_a_cache_gives_the_logits_of_the_full_forward(pieces: list[int]) -> None:
    model, ids = random_model("gpt2-tiny"), torch.arange(40).reshape(2, 20)
    cache = model.cache(2, 20)
    parts = torch.cat([model(part, cache) for part in ids.split(pieces, dim=1)], dim=1)
    torch.testing.assert_close(parts, model(ids), atol=1e-5, rtol=1e-5)
    assert cache.length == 20


@pytest.mark.parametrize("name", ["gpt2-tiny", "llama-tiny"])
@torch.no_grad()
def test_a_packed_document_reads_as_if_it_stood_alone(name: str) -> None:
    model, ids = random_model(name), torch.randint(512, (2, 24), generator=torch.Generator().manual_seed(0))
    lengths = ([5, 12, 7], [1, 22, 1])
    documents = torch.stack([torch.arange(3).repeat_interleave(torch.tensor(row)) for row in lengths])
    packed = model(ids, documents=documents)
    for row, cuts in enumerate(lengths):
        for alone, within in zip(ids[row].split(cuts), packed[row].split(cuts), strict=True):
            torch.testing.assert_close(within, model(alone[None])[0], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(packed[0, -1], model(ids)[0, -1], atol=1e-2)


def test_an_optimizer_of_matrices_sees_queries_keys_and_values_as_three() -> None:
    model = GPT2(TINY)
    optimizer = make_optimizer("muon", model, weight_decay=0.1)
    assert isinstance(optimizer, Together)
    muon = optimizer.parts[0]
    assert isinstance(muon, Muon)
    assert max(len(batch) for batch in muon.batches) == TINY.n_layers * (3 + 1)  # and what leads out of attention


def test_dropout_acts_in_training_alone() -> None:
    model, ids = GPT2(replace(TINY, dropout=0.5)), torch.arange(40).reshape(2, 20)
    torch.testing.assert_close(model.eval()(ids), GPT2(TINY)(ids))
    torch.manual_seed(0)
    assert not torch.allclose(model.train()(ids), model(ids))


def test_the_flops_of_a_plan_are_those_torch_counts() -> None:
    model = GPT2(TINY)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 64, dtype=torch.int64)).sum().backward()
    assert counter.get_total_flops() == model.flops_per_token(0) * 64  # torch does not count attention on a CPU
    assert TINY.flops_per_token(64) - TINY.flops_per_token(0) == 6 * TINY.n_layers * TINY.width * 64


def test_a_shape_whose_heads_do_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="width 64 and 5 heads"):
        replace(TINY, n_heads=5)
