"""Great Expectations, asked: two small tables, one suite each, in an ephemeral context that tells nobody."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from infra.store.errors import InputError, SlipwayError
from infra.validation.own import Own
from infra.validation.suites import bound_of

Table = Literal["profile", "sample"]
_NO_MEND: Final = "A gate that cannot run has not passed."


@dataclass(frozen=True)
class Asked:
    """An expectation on one of the tables; `made` makes it, given the library."""

    table: Table
    made: Callable[[Any], Any] | None


@dataclass(frozen=True)
class Result:
    """What was said: whether it holds, the share of rows that are good (None where rows are not counted), places of bad ones."""

    success: bool
    share_good: float | None
    places: Sequence[int]


def between(column: str, name: str, limit: float, *, mostly: float = 1.0) -> Callable[[Any], Any]:
    """That a column's values are at least or at most `limit`, as `name` begins; `mostly`: for this share of the rows."""
    bound = {f"{bound_of(name)[0]}_value": limit}
    return lambda gx: gx.expectations.ExpectColumnValuesToBeBetween(column=column, mostly=mostly, **bound)


def answer(each: Own, profile: Mapping[str, float], drawn: Sequence[Mapping[str, Any]]) -> tuple[float, list[int]]:
    """What a function of the user's own gives: its number, and the places it points at. Raises InputError where it fails."""
    import numpy as np
    import pandas as pd  # half a second, and only wanted where there is such a function

    try:
        given = each(dict(profile), pd.DataFrame(list(drawn)))
        if np.ndim(given):
            bad = np.asarray(given, dtype=bool)
            if len(bad) != len(drawn):
                raise ValueError(f"{len(bad)} values for {len(drawn)} rows")
            return float(bad.mean()) if len(bad) else 0.0, [int(place) for place in np.flatnonzero(bad)]
        return float(given), []
    except Exception as error:
        what = f"its function failed ({type(error).__name__}: {error})"
        raise InputError(what, where=f"expectation {each.name}", mend=f"Mend the function. {_NO_MEND}") from error


def judge(tables: Mapping[str, Sequence[Mapping[str, Any]]], asked: Mapping[str, Asked]) -> dict[str, Result]:
    """The result of each expectation, in the order they were asked. Raises SlipwayError where one could not be judged."""
    import great_expectations as gx  # six seconds to import, and only wanted where data is new
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(enable=False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    results: dict[str, Result] = {}
    for table, rows in tables.items():
        mine = {name: each for name, each in asked.items() if each.table == table}
        if not mine:
            continue
        suite = gx.ExpectationSuite(name=table)
        for name, each in mine.items():
            assert each.made
            wanted = each.made(gx)
            wanted.meta = {**(wanted.meta or {}), "name": name}
            suite.add_expectation(wanted)
        columns = sorted({*(column for row in rows for column in row), *filter(None, map(_column, suite.expectations))})
        asset = context.data_sources.add_pandas(table).add_dataframe_asset(table)
        batch = asset.add_batch_definition_whole_dataframe(table).get_batch(
            batch_parameters={"dataframe": pd.DataFrame(list(rows), columns=columns)}
        )
        for found in batch.validate(suite, result_format="SUMMARY").results:  # in an order of its own
            name = ((found.expectation_config and found.expectation_config.meta) or {}).get("name", "")
            if not _raised(found.exception_info) and not found.result.get("missing_count"):
                results[name] = _result(found, bool(rows))  # a missing number would count as a good one
    for name in asked:
        if name not in results:
            raise SlipwayError("Great Expectations could not judge the data by it", where=f"expectation {name}", mend=_NO_MEND)
    return {name: results[name] for name in asked}


def _result(found: Any, any_rows: bool) -> Result:
    bad = found.result.get("unexpected_percent")
    counted = "unexpected_count" in found.result
    share = 1 - (bad or 0) / 100 if counted else None
    return Result(bool(found.success) and any_rows, share, found.result.get("partial_unexpected_index_list") or ())


def _column(expectation: Any) -> str:
    return str(getattr(expectation, "column", "") or "")


def _raised(info: Any) -> bool:
    """Whether an expectation failed to run; the library says so once, or once for each of its metrics."""
    said = [info, *info.values()] if isinstance(info, Mapping) else []
    return any(isinstance(each, Mapping) and each.get("raised_exception") for each in said)
