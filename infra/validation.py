"""Data validation: Great Expectations judges a corpus by two small tables, its profile and a sample of its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from infra.store.errors import SlipwayError

_EXAMPLES = 3
_ON_SAMPLE: Final = {"min_lettered_share": ("letter_share", "min_letter_share")}
"""Expectations on the rows of the sample: the share of them in which a column reaches what another expectation asks of it."""
_WORDS: Final = {
    "bytes": "bytes of text",
    "empty_share": "share of empty documents",
    "duplicate_share": "share of exact duplicates",
    "control_share": "share of control characters",
    "replacement_share": "share of U+FFFD characters",
    "letter_share": "share of letters",
    "lettered_share": "share of sampled documents with letters enough",
    "compressed_share": "size when compressed, to the text's",
    "mean_bytes": "bytes of a document, mean",
    "rows": "rows",
    "labels": "different labels",
    "label_rows": "rows of the rarest label",
    "invalid_share": "share of rows in which something is wrong",
    "empty_answer_share": "share of rows without an answer",
    "mean_answer_bytes": "bytes of an answer, mean",
    "longest_answer_bytes": "bytes of the longest answer",
    "conflict_share": "share of rows whose text has two labels",
    "shortest_bytes": "bytes of the shortest document",
    "longest_bytes": "bytes of the longest document",
}


@dataclass(frozen=True)
class Row:
    """One expectation: what was expected, in plain words, what is, and up to three rows that show it where it failed."""

    expectation: str
    observed: float
    limit: str
    passed: bool
    examples: list[str]


@dataclass(frozen=True)
class Report:
    """The verdict on a corpus."""

    passed: bool
    rows: list[Row]

    def document(self) -> dict[str, Any]:
        """The report as JSON data, for a manifest."""
        return asdict(self)


def validate(profile: Mapping[str, float], sample: Mapping[str, Sequence[Any]], expectations: Mapping[str, float]) -> Report:
    """Judges; a failed expectation is a row that did not pass, never an error.

    profile: a corpus in numbers. `min_X` and `max_X` among the expectations bound its number X, inclusive. sample: columns of
    equal length with at least `id`, `preview` and `kept_for` (empty for rows drawn at random, else the name of the number that
    the row is an example of), and those that expectations on single rows look at. Raises SlipwayError when Great Expectations
    could not judge: that is no pass.
    """
    drawn = _kept_for(sample, "")
    on_profile = {name: _bound(name, limit, profile) for name, limit in expectations.items() if name not in _ON_SAMPLE}
    on_sample = {
        name: {"column": column, "min_value": expectations[limit], "mostly": expectations[name]}
        for name, (column, limit) in _ON_SAMPLE.items()
        if name in expectations
    }
    results = _judge({"profile": ([profile], on_profile), "sample": (drawn, on_sample)})
    rows = []
    for name, limit in expectations.items():
        column, result = name.partition("_")[2], results[name]
        if name in on_profile:
            observed, failing = profile[column], _kept_for(sample, column) or drawn
        else:
            observed = 1 - (result["unexpected_percent"] or 0) / 100
            failing = [drawn[place] for place in result["partial_unexpected_index_list"]]
        examples = [] if result["success"] else [f"{row['id']}: {row['preview']}" for row in failing[:_EXAMPLES]]
        bound = f"{'at least' if name.startswith('min_') else 'at most'} {limit:,g}"
        rows.append(Row(_WORDS.get(column, column.replace("_", " ")), observed, bound, result["success"], examples))
    return Report(all(row.passed for row in rows), rows)


def _judge(tables: Mapping[str, tuple[Sequence[Mapping[str, Any]], Mapping[str, dict[str, Any]]]]) -> dict[str, dict[str, Any]]:
    """Great Expectations' result for each expectation by name, from the rows of each table and the bounds set on its columns."""
    import great_expectations as gx  # six seconds to import, and only wanted where a corpus is new
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.core.expect_column_values_to_be_between import ExpectColumnValuesToBeBetween

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(enable=False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    results: dict[str, dict[str, Any]] = {}
    for table, (rows, bounds) in tables.items():
        if not bounds:
            continue
        asset = context.data_sources.add_pandas(table).add_dataframe_asset(table)
        whole = asset.add_batch_definition_whole_dataframe(table)
        columns = sorted({bound["column"] for bound in bounds.values()})
        batch = whole.get_batch(batch_parameters={"dataframe": pd.DataFrame(list(rows), columns=columns)})
        suite = gx.ExpectationSuite(name=table)
        for name, bound in bounds.items():
            suite.add_expectation(ExpectColumnValuesToBeBetween(**bound, meta={"name": name}))
        for found in batch.validate(suite, result_format="SUMMARY").results:  # in an order of its own
            name = ((found.expectation_config and found.expectation_config.meta) or {}).get("name", "")
            if found.result.get("missing_count") == 0:  # a missing number would count as a good one
                results[name] = {**found.result, "success": bool(found.success and rows)}
        for name in bounds:
            if name not in results:
                raise SlipwayError("Great Expectations could not judge the data by it", where=f"expectation {name}")
    return results


def _bound(name: str, limit: float, profile: Mapping[str, float]) -> dict[str, Any]:
    side, _, column = name.partition("_")
    if side not in ("min", "max") or column not in profile:
        raise SlipwayError(f"no number of the profile is bounded by it: {', '.join(sorted(profile))}", where=f"expectation {name}")
    return {"column": column, f"{side}_value": limit}


def _kept_for(sample: Mapping[str, Sequence[Any]], name: str) -> list[dict[str, Any]]:
    """The rows of the sample that were kept for something; drawn at random, for an empty name."""
    columns = list(sample)
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*sample.values(), strict=True)]
    return [row for row in rows if row["kept_for"] == name]
