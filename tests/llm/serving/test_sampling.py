"""Generation: the cache changes the speed and never the text; a seed means the same text again."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from infra.store.errors import InputError
from llm.events import Event, Noted
from llm.models.config import LlamaConfig
from llm.models.llama import Llama
from llm.serving.sampling import NotFiniteError, continue_text, generate, stream_text
from llm.text.tokenizer import Tokenizer

_CONFIG = LlamaConfig(vocabulary=320, context_length=24, n_layers=2, width=32, n_heads=4, n_kv_heads=2, hidden=48)


def _llama() -> Llama:
    model = Llama(_CONFIG).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)  # far from uniform
    return model


class Fixed(torch.nn.Module):
    """Always the same logits, so that frequencies can be counted; `script` makes it say given ids instead."""

    def __init__(self, logits: Sequence[float], script: Sequence[int] = (), context_length: int = 10_000) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits, dtype=torch.float32))
        self.config = LlamaConfig(
            vocabulary=len(logits), context_length=context_length, n_layers=1, width=2, n_heads=1, n_kv_heads=1, hidden=1
        )
        self.script = list(script)

    def cache(self, batch: int, max_length: int) -> list[int]:
        return []

    def forward(self, ids: Tensor, cache: list[int]) -> Tensor:
        logits = self.logits.repeat(1, ids.shape[1], 1)
        if self.script:
            logits[..., self.script[len(cache)]] = 100.0
            cache.append(0)
        return logits


def _frequencies(probabilities: Sequence[float], n: int = 4_000, **options: Any) -> dict[int, float]:
    model = Fixed([math.log(probability) for probability in probabilities])
    counts = Counter(generate(model, [0], max_new_tokens=n, seed=3, **options))
    return {index: count / n for index, count in sorted(counts.items())}


def test_cached_greedy_decoding_gives_what_the_full_forward_gives() -> None:
    model, ids = _llama(), [7, 300, 12]
    cached = list(generate(model, ids, max_new_tokens=15, temperature=0))
    for _ in range(15):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    assert cached == ids[3:]
    assert len(set(cached)) > 3  # a loop of one token would prove little


def test_a_seed_means_the_same_text_and_no_other_randomness_is_touched() -> None:
    model = _llama()
    before = torch.get_rng_state()
    first, again, other = (list(generate(model, [1, 2], max_new_tokens=20, seed=seed)) for seed in (4, 4, 5))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)


def test_two_streams_at_once_do_not_disturb_each_other_or_the_gradients() -> None:
    model = _llama()
    alone = list(generate(model, [1, 2], max_new_tokens=10, seed=4))
    pairs = list(
        zip(generate(model, [1, 2], max_new_tokens=10, seed=4), generate(model, [3], max_new_tokens=10, seed=4), strict=True)
    )
    assert [first for first, _ in pairs] == alone
    stream = generate(model, [1], max_new_tokens=5)
    next(stream)
    assert torch.is_grad_enabled()


def test_ids_come_as_often_as_the_model_says() -> None:
    frequencies = _frequencies([0.5, 0.3, 0.15, 0.05])
    assert frequencies == pytest.approx({0: 0.5, 1: 0.3, 2: 0.15, 3: 0.05}, abs=0.03)


def test_temperature_sharpens_and_flattens() -> None:
    assert _frequencies([0.8, 0.2], temperature=0.5)[0] == pytest.approx(16 / 17, abs=0.03)
    assert _frequencies([0.8, 0.2], temperature=2.0)[0] == pytest.approx(2 / 3, abs=0.03)
    assert _frequencies([0.4, 0.6], temperature=1e-60) == {1: 1.0}


def test_top_k_leaves_the_k_likeliest_in_proportion() -> None:
    assert _frequencies([0.1, 0.5, 0.15, 0.25], top_k=2) == pytest.approx({1: 2 / 3, 3: 1 / 3}, abs=0.03)
    assert set(_frequencies([0.5, 0.5], top_k=99)) == {0, 1}


def test_top_p_leaves_the_likeliest_that_reach_p_the_one_that_crosses_it_included() -> None:
    assert _frequencies([0.5, 0.3, 0.15, 0.05], top_p=0.7) == pytest.approx({0: 0.625, 1: 0.375}, abs=0.03)
    assert _frequencies([0.5, 0.3, 0.15, 0.05], top_p=0.01) == {0: 1.0}


def test_repetition_penalty_lowers_what_was_said() -> None:
    model = Fixed([2.0, 1.9, 1.5, -1.0])
    assert list(generate(model, [3], max_new_tokens=3, temperature=0)) == [0, 0, 0]
    assert list(generate(model, [3], max_new_tokens=3, temperature=0, repetition_penalty=2.0)) == [0, 1, 2]


def test_a_padded_vocabulary_never_reaches_the_text() -> None:
    assert list(generate(Fixed([1.0, 2.0, 9.0]), [0], max_new_tokens=2, temperature=0, vocabulary=2)) == [1, 1]


def test_a_stop_token_ends_the_text_and_is_not_part_of_it() -> None:
    model = Fixed([0.0] * 9, script=[4, 5, 6, 7])
    assert list(generate(model, [0], max_new_tokens=4, temperature=0, stop={6})) == [4, 5]


def test_generation_ends_where_the_context_ends() -> None:
    assert len(list(generate(_llama(), [1] * 20, max_new_tokens=100))) == 4
    assert list(generate(_llama(), [1] * 20, max_new_tokens=0)) == []


@pytest.mark.parametrize(("max_new_tokens", "kept"), [(5, 19), (100, 12)])
def test_a_prompt_that_fills_the_context_is_cut_from_the_left_and_says_so(max_new_tokens: int, kept: int) -> None:
    heard: list[Event] = []
    model, prompt = _llama(), list(range(40))
    new = list(generate(model, prompt, max_new_tokens=max_new_tokens, temperature=0, observe=heard.append))
    assert new == list(generate(model, prompt[-kept:], max_new_tokens=max_new_tokens, temperature=0))
    assert len(new) == min(max_new_tokens, 24 - kept)
    assert heard == [Noted(f"the prompt has 40 tokens, the model reads 24: only its last {kept} are used")]


def test_all_options_out_of_bounds_are_named_at_once_before_anything_runs() -> None:
    with pytest.raises(InputError) as error:
        generate(_llama(), [], max_new_tokens=-1, temperature=math.nan, top_k=0, top_p=0.0, repetition_penalty=0.0)
    for name in ("prompt", "max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty"):
        assert name in error.value.what


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_broken_model_is_an_error_and_not_a_text(temperature: float) -> None:
    with pytest.raises(NotFiniteError, match="not finite"):
        next(generate(Fixed([0.0, math.nan]), [0], temperature=temperature))


def _tokenizer() -> Tokenizer:
    return Tokenizer.train(["the ship is built on a slipway and the ship is launched from the slipway"], 300)


def test_text_goes_on_from_the_prompt_to_the_end_token() -> None:
    tokenizer = _tokenizer()
    model = Fixed([0.0] * tokenizer.size, script=[*tokenizer.encode(" is built."), tokenizer.eos])
    assert continue_text(model, tokenizer, "the ship", temperature=0) == " is built."


def test_a_streamed_piece_never_holds_half_a_character() -> None:
    tokenizer = _tokenizer()
    text = "größer → 船, fertig"
    ids = [index for character in text for index in tokenizer.encode(character)]
    assert len(ids) > len(text)  # the characters beyond ASCII take several tokens each
    model = Fixed([0.0] * tokenizer.size, script=[*ids, tokenizer.eos])
    pieces = list(stream_text(model, tokenizer, "so ", temperature=0))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert pieces[:3] == ["g", "r", "ö"]


def test_a_character_that_the_last_token_leaves_unfinished_is_left_out() -> None:
    tokenizer = _tokenizer()
    ids = [*tokenizer.encode("a"), *tokenizer.encode("船")]
    model = Fixed([0.0] * tokenizer.size, script=ids)
    assert continue_text(model, tokenizer, "so ", temperature=0, max_new_tokens=len(ids) - 1) == "a"


def test_streamed_and_whole_text_are_the_same_for_a_model_that_says_anything() -> None:
    tokenizer, model = _tokenizer(), _llama()
    for seed in range(10):
        whole = continue_text(model, tokenizer, "the ship", seed=seed, temperature=1.5, max_new_tokens=18, stop=())
        start = [tokenizer.eos, *tokenizer.encode("the ship")]
        ids = list(generate(model, start, seed=seed, temperature=1.5, max_new_tokens=18, vocabulary=tokenizer.size))
        assert whole == tokenizer.decode(ids).rstrip("\ufffd")


def test_pieces_come_while_the_model_still_works() -> None:
    tokenizer = _tokenizer()
    model = Fixed([0.0] * tokenizer.size, script=tokenizer.encode("the ship is"))  # a further step would run past the script
    assert "".join(itertools.islice(stream_text(model, tokenizer, "so ", temperature=0), 2)) == "the ship"
