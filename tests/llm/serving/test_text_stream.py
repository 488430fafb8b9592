"""A reader of a stream never sees half a character, nor the beginning of a stop string."""

import pytest

from llm.serving.text_stream import StopStrings


def _shown(stops: list[str], pieces: list[str]) -> tuple[list[str], bool]:
    watch = StopStrings(stops)
    shown = [watch.push(piece) for piece in pieces]
    return ([*shown, "" if watch.found else watch.rest()], watch.found)


def test_a_stop_string_that_comes_in_pieces_is_found_and_never_shown() -> None:
    assert _shown(["\nUser:"], ["Yes", ".\n", "Us", "er", ": more"]) == (["Yes", ".", "", "", "", ""], True)


def test_what_only_seemed_to_begin_a_stop_string_is_shown_after_all() -> None:
    assert _shown(["\nUser:"], ["a\nUs", "ual", "\n"]) == (["a", "\nUsual", "", "\n"], False)


@pytest.mark.parametrize("cut", range(1, 9))
def test_where_the_pieces_are_cut_does_not_change_the_text(cut: int) -> None:
    text = "aab aabaac ends"
    pieces = [text[start : start + cut] for start in range(0, len(text), cut)]
    shown, found = _shown(["aabaac", "never"], pieces)
    assert ("".join(shown), found) == ("aab ", True)


def test_of_several_stop_strings_the_first_in_the_text_cuts() -> None:
    assert _shown(["two", "one"], ["zero one two"]) == (["zero ", ""], True)


def test_without_stop_strings_nothing_is_held_back() -> None:
    assert _shown([], ["a", "b"]) == (["a", "b", ""], False)
