"""One dial: deeper is wider and longer trained, and what it derives is what published laws and our own runs say."""

import pytest

from llm.training.depth import HORIZON, settings, shape


def test_width_heads_and_hidden_follow_the_depth() -> None:
    small, large = shape(4, vocabulary=4096, context_length=256), shape(32, vocabulary=128_256, context_length=4096)
    assert (small.n_layers, small.width, small.n_heads, small.hidden, small.tied) == (4, 256, 4, 704, True)
    assert (large.n_layers, large.width, large.n_heads, large.hidden, large.tied) == (32, 2048, 16, 5504, False)
    assert small.head_width == 64
    assert large.head_width == 128
    assert [shape(depth, vocabulary=4096, context_length=8).width for depth in (1, 15, 16, 17)] == [64, 960, 1024, 1088]


def test_a_deeper_model_learns_longer_from_larger_batches_at_a_lower_rate() -> None:
    ladder = [settings(shape(depth, vocabulary=4096, context_length=256), sequence_length=256) for depth in (2, 4, 8, 16)]
    assert [each.batch_size for each in ladder] == sorted(each.batch_size for each in ladder)
    assert [each.learning_rate for each in ladder] == sorted((each.learning_rate for each in ladder), reverse=True)
    assert ladder[0].batch_size < ladder[-1].batch_size
    assert {each.tokens_per_parameter for each in ladder} == {HORIZON}


def test_the_law_gives_what_its_formula_gives_for_a_large_model() -> None:
    """Li et al., 2025, worked out by hand for a billion parameters and 100 billion tokens: 1.67e-3, 1.12 million tokens a batch."""
    model = shape(27, vocabulary=1, context_length=2048)
    found = settings(model, sequence_length=2048, tokens_per_parameter=100e9 / model.parameters())
    assert model.body_parameters() == pytest.approx(0.97e9, rel=0.02)
    assert found.batch_size * 2048 == 2**20
    assert found.learning_rate == pytest.approx(1.67e-3, rel=0.02)


def test_steps_say_how_long_too_and_a_given_batch_moves_the_rate_by_its_root() -> None:
    model = shape(4, vocabulary=4096, context_length=256)
    free = settings(model, sequence_length=256, steps=2_000)
    assert free.batch_size * 256 == pytest.approx(0.58 * (free.tokens_per_parameter * model.parameters()) ** 0.571, rel=0.42)
    given = settings(model, sequence_length=256, tokens_per_parameter=free.tokens_per_parameter, batch_size=4 * free.batch_size)
    assert given.batch_size == 4 * free.batch_size
    assert given.learning_rate == pytest.approx(2 * free.learning_rate, rel=0.03)
    assert settings(model, sequence_length=256, steps=1).batch_size == 1
