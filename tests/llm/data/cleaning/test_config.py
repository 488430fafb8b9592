"""The limits that a reader of the documentation finds are those in force, and a recipe can say any of them."""

import dataclasses
import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from infra.store.fingerprint import fingerprint
from llm.config import out_of_bounds
from llm.data.cleaning.config import GOPHER_C4_FINEWEB, CleaningConfig, QualityRules

PAGE = Path(__file__).parents[4] / "docs" / "cleaning.md"


def shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:,}" if isinstance(value, int) else f"{value:g}"


def test_the_documentations_table_of_limits_is_the_configuration() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| (\S+) \|", PAGE.read_text(), re.MULTILINE)
    names = [field.name for field in dataclasses.fields(QualityRules) if field.name != "words"]
    assert rows == [(name, shown(getattr(QualityRules(), name)), shown(getattr(GOPHER_C4_FINEWEB, name))) for name in names]


def test_a_recipe_says_each_limit_and_is_refused_where_it_makes_no_sense() -> None:
    adapter = TypeAdapter(CleaningConfig)
    config = adapter.validate_python({"pii": "replace", "languages": ["en"], "quality": {"min_words": 50}})
    assert config == CleaningConfig(pii="replace", languages=("en",), quality=QualityRules(min_words=50))
    for wrong in ({"pii": "hide"}, {"quality": {"max_symbols": 2}}, {"similarity": 0}, {"no_such": 1}):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)
    assert out_of_bounds(CleaningConfig()) == out_of_bounds(CleaningConfig(quality=GOPHER_C4_FINEWEB)) == []


def test_a_changed_limit_is_another_key() -> None:
    assert fingerprint(CleaningConfig()) == fingerprint(CleaningConfig())
    assert fingerprint(CleaningConfig()) != fingerprint(CleaningConfig(quality=QualityRules(min_words=3)))
