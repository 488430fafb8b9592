"""Sources come in the proportion of their weights in tokens, and none is repeated until it teaches nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.store.errors import InputError
from llm.data.mixing import mix, source_of

SIZES = {"web": 1_000_000, "books": 200_000, "code": 300_000}


def test_the_total_is_kept_and_each_source_has_its_share_of_it() -> None:
    taken = mix(SIZES, {"web": 2.0, "books": 1.0, "code": 1.0})
    tokens = {name: each.times * each.tokens for name, each in taken.items()}
    assert sum(tokens.values()) == pytest.approx(1_500_000)
    assert {name: count / 1_500_000 for name, count in tokens.items()} == pytest.approx({"web": 0.5, "books": 0.25, "code": 0.25})
    assert [(name, each.copies) for name, each in taken.items()] == [("web", 0), ("books", 1), ("code", 1)]
    assert taken["books"].more == pytest.approx(175_000)


def test_without_repetition_the_total_is_what_the_scarcest_source_allows() -> None:
    taken = mix(SIZES, {"web": 2.0, "books": 1.0, "code": 1.0}, total="once")
    assert {name: each.times for name, each in taken.items()} == pytest.approx({"web": 0.4, "books": 1.0, "code": 2 / 3})


def test_more_than_four_epochs_of_a_source_are_refused_with_the_share_that_would_do() -> None:
    with pytest.raises(InputError, match="'books' has 200,000 training tokens and would be repeated 6.0 times") as caught:
        mix(SIZES, {"web": 1.0, "books": 8.0, "code": 1.0})
    assert "a share of 53.3% at most" in caught.value.mend
    share = 0.533
    rest = (1 - share) / 2
    assert mix(SIZES, {"web": rest, "books": share, "code": rest})["books"].times == pytest.approx(4.0, abs=0.01)
    assert mix(SIZES, {"web": 1.0, "books": 8.0, "code": 1.0}, max_times=7)["books"].times == pytest.approx(6.0)


def test_weights_that_do_not_fit_the_sources_are_named() -> None:
    with pytest.raises(InputError, match="no source is named 'boks'") as caught:
        mix(SIZES, {"web": 1.0, "boks": 1.0, "code": 1.0})
    assert caught.value.mend == "Did you mean books?"
    with pytest.raises(InputError, match="'code' has no weight"):
        mix(SIZES, {"web": 1.0, "books": 1.0})
    with pytest.raises(InputError, match="'code' has the weight 0"):
        mix(SIZES, {"web": 1.0, "books": 1.0, "code": 0.0})
    with pytest.raises(InputError, match="'code' has no training tokens"):
        mix(SIZES | {"code": 0}, {"web": 1.0, "books": 1.0, "code": 1.0})


def test_a_document_belongs_to_the_source_whose_name_its_own_begins_with() -> None:
    assert source_of("web/2024/a.jsonl", ("web", "web/2024", "we")) == "web/2024"
    assert source_of("website/a.jsonl", ("web",)) == ""
    assert source_of("web", ("web",)) == "web"


@given(st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(1, 10**9), st.floats(0.01, 100.0)), min_size=1))
def test_whatever_the_sizes_shares_add_up_and_without_repetition_nothing_is_repeated(sources: dict[str, tuple[int, float]]) -> None:
    tokens, weights = ({name: pair[place] for name, pair in sources.items()} for place in (0, 1))
    taken = mix(tokens, weights, total="once")  # type: ignore[arg-type]
    total = sum(each.times * each.tokens for each in taken.values())
    for each in taken.values():
        assert each.times <= 1 + 1e-9
        assert each.times * each.tokens == pytest.approx(total * each.share)
    assert max(each.times for each in taken.values()) == pytest.approx(1)
