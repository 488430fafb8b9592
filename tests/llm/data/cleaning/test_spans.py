"""A place lies in a stretch of text from its start to before its end."""

from llm.data.cleaning.spans import Spans


def test_a_place_is_in_a_stretch_from_its_start_to_before_its_end() -> None:
    spans = Spans([(2, 4), (7, 8)])
    assert [place for place in range(10) if place in spans] == [2, 3, 7]
    assert 0 not in Spans([])
