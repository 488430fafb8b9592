"""Where preferences come from: looked at first; then gathered and split."""

from dataclasses import replace
from functools import partial
from typing import Final

from infra.store.fingerprint import fingerprint
from llm.data.cleaning.config import CleaningConfig
from llm.data.kinds.preference import PREFERENCE, preferences_of
from llm.data.kinds.result import Rows
from llm.data.kinds.sources import Gathered, Source
from llm.data.preference_config import PreferenceData
from llm.data.preferences import Preference, split_by_prompt
from llm.data.reading.found import Found

SECTION: Final = "prefer.data"
ON_INVALID: Final = f"{SECTION}.on_invalid"
"""The recipe's key that leaves out the rows in which something is wrong."""


def inspect_preferences(data: PreferenceData) -> Found:
    """Looks at the source and at every row of it. Raises InputError for the first that is wrong, unless those are to be left out.

    The version is one of the content: where a file lies and what it is called do not bear on it.
    """
    source = _source(data)
    return _known(source, source.right_rows(ON_INVALID, data.on_invalid))


def gather(data: PreferenceData) -> Gathered[Preference]:
    """All rows that are of use, and the split of each.

    Raises InputError for the first wrong row, unless those are to be left out.
    """
    source = _source(data)
    rows = source.right_rows(ON_INVALID, data.on_invalid, data.cleaning)
    splits = split_by_prompt(rows.kept, validation_share=data.validation_share, test_share=data.test_share)
    return Gathered(_known(source, rows), rows, splits, source.found.version)


def judge(data: PreferenceData, cleaning: CleaningConfig | None = None) -> Rows[Preference]:
    """All rows, whatever is wrong with some: nothing is refused, and nothing split."""
    return _source(data).rows(cleaning or data.cleaning)


def _source(data: PreferenceData) -> Source[Preference]:
    named = {"chosen": data.chosen_column, "rejected": data.rejected_column, "prompt": data.prompt_column}
    return Source(PREFERENCE, data.path, partial(preferences_of, named=named))


def _known(source: Source[Preference], rows: Rows[Preference]) -> Found:
    version = fingerprint({"preferences": [file.sha256 for file in source.found.files]})[:16]
    return replace(source.counted(rows), version=version)
