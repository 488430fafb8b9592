"""A skip list says which places are never read, in a form that a person writes; what it cannot mean is refused by name."""

import pytest

from infra.store.errors import InputError
from llm.data.windows import windows
from llm.training.config import TrainingConfig


def test_windows_are_read_with_both_ends_and_put_together_where_they_touch() -> None:
    assert windows(["880-920", " 7 ", "8 - 9", "900-1000"], "training.skip_steps", counted_from=1) == ((6, 9), (879, 1000))
    assert windows([], "training.skip_steps") == ()


@pytest.mark.parametrize("text", ["9-8", "0", "-3", "3-", "a", "1.5", "", "1-2-3"])
def test_what_is_no_window_of_steps_is_named_with_its_key(text: str) -> None:
    with pytest.raises(InputError, match=r"training\.skip_steps"):
        windows([text], "training.skip_steps", counted_from=1)
    assert [problem for problem in TrainingConfig(steps=1, skip_steps=(text,)).problems() if "training.skip_steps" in problem]
