"""A limit is the same wherever it is read: in a recipe, in its form, and where data is judged without one."""

from dataclasses import asdict

import pytest

from infra.validation import DEFAULTS, Kind
from llm.data.expectations import DataExpectations, Expectations, LabelExpectations
from llm.data.instruction_config import InstructionExpectations
from llm.data.preference_config import PreferenceExpectations

SECTIONS: dict[Kind, DataExpectations] = {
    "corpus": Expectations(),
    "classification": LabelExpectations(),
    "instruction": InstructionExpectations(),
    "preference": PreferenceExpectations(),
}


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_recipe_bounds_by_itself_what_is_bounded_without_one(kind: Kind) -> None:
    said = asdict(SECTIONS[kind])
    assert {name: said.get(name) for name in DEFAULTS[kind]} == DEFAULTS[kind]
