"""The predicted loss: a law that made the runs is found again, and what it cannot know it says."""

import pytest

from llm.training.scaling import LADDER, Outcome, PowerLaw, fit

LAW = PowerLaw(0.6, 40.0, 0.35, 60.0, 0.3, ((1e5, 1e7), (1e5, 1e8)))


def runs(scale: float = 1.0) -> list[Outcome]:
    return [Outcome(n, d, scale * LAW.bits_per_byte(n, d)) for n in (1e5, 1e6, 1e7) for d in (1e5, 3e6, 1e8)]


def test_the_law_behind_the_runs_is_found_again() -> None:
    found = fit(runs(), 0.6)
    assert (found.alpha, found.beta) == pytest.approx((0.35, 0.3), abs=0.01)
    assert found.bits_per_byte(3e6, 2e7) == pytest.approx(LAW.bits_per_byte(3e6, 2e7), rel=1e-3)
    assert found.measured == LAW.measured


def test_with_given_exponents_three_runs_are_enough() -> None:
    found = fit([runs()[0], runs()[1], runs()[4]], 0.6, (0.35, 0.3))
    assert (found.a, found.b) == pytest.approx((40.0, 60.0))


@pytest.mark.parametrize(
    ("parameters", "tokens", "bits_per_byte"),
    [
        (426_624, 95_232, 2.3053),
        (426_624, 189_952, 2.2091),
        (426_624, 379_904, 2.0900),
        (1_328_448, 211_456, 2.1494),
        (1_328_448, 422_912, 2.0388),
        (1_328_448, 845_824, 1.9413),
        (3_213_568, 425_984, 2.0219),
        (3_213_568, 851_968, 1.9127),
    ],
)
def test_the_law_in_use_holds_for_the_runs_it_was_made_from(parameters: float, tokens: float, bits_per_byte: float) -> None:
    assert LADDER.bits_per_byte(parameters, tokens) == pytest.approx(bits_per_byte, rel=0.01)
    assert LADDER.covers(parameters, tokens)


def test_a_size_far_from_what_was_measured_is_called_a_guess() -> None:
    assert LAW.covers(2e6, 1e6)
    assert LAW.covers(2e7, 2e8)
    assert not LAW.covers(1e9, 1e6)
    assert not LAW.covers(1e6, 1e10)


def test_runs_on_a_harder_text_correct_the_prediction_for_the_next_one() -> None:
    assert LAW.corrected([]) == 1.0
    assert LAW.corrected(runs(1.2)) == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [(runs()[:3], "two sizes"), ([Outcome(n, d, n * d) for n in (1.0, 2.0) for d in (1.0, 2.0)], "does not fall")],
)
def test_runs_that_hold_no_law_are_refused(outcomes: list[Outcome], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit(outcomes, 0.6)
