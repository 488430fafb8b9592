"""xz beside the model: the number a reader compares with must be xz's own."""

import random
import shutil
import subprocess

import pytest

from infra.store.errors import InputError
from llm.evaluation.compression import xz, xz_after

_WORDS = "the ship is built upon a slipway from which it will be launched into open water by many hands".split()


def _text(seed: int, words: int) -> str:
    return " ".join(random.Random(seed).choices(_WORDS, k=words))


@pytest.mark.skipif(not shutil.which("xz"), reason="xz is not installed")
def test_the_number_is_what_the_xz_command_gives() -> None:
    documents = [_text(1, 2_000), _text(2, 500), "größer als ASCII"]
    joined = "\n".join(documents).encode()
    compressed = subprocess.run(["xz", "-9e", "-c"], input=joined, capture_output=True, check=True).stdout
    assert xz(documents) == 8 * len(compressed) / len(joined)


def test_text_without_pattern_takes_all_its_bits() -> None:
    noise = "".join(random.Random(3).choices("0123456789abcdef", k=40_000))
    assert 4.0 < xz([noise]) < 4.5


def test_training_text_that_holds_the_document_makes_it_almost_free() -> None:
    document = _text(4, 3_000)
    assert xz_after([_text(5, 3_000), document, _text(6, 3_000)], [document]) < 0.1 < xz([document])


def test_training_text_far_back_is_still_in_reach() -> None:
    noise = random.Random(7)
    document = "".join(noise.choices("0123456789abcdef", k=3_000))
    filler = "".join(noise.choices("0123456789abcdef", k=600_000))
    assert xz_after([document, filler], [document]) < 0.2


@pytest.mark.parametrize("documents", [[], ["", ""]])
def test_no_text_is_refused_by_name(documents: list[str]) -> None:
    with pytest.raises(InputError, match="no text to compress"):
        xz(documents)
