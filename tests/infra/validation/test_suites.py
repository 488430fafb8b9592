"""What blocks and what warns, who may waive it and until when, expectations of one's own, and how far data has moved."""

import textwrap
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from infra.store.errors import InputError, SlipwayError
from infra.validation import DEFAULTS, KINDS, Report, drift, expectation, gx_expectation, validate
from infra.validation.own import VARIABLE
from infra.validation.suites import MEASURES, bound_of

TODAY = date(2026, 11, 26)
SAMPLE: dict[str, list[Any]] = {
    "id": ["a", "b", "c"],
    "preview": ["ask ann@example.com", "HEAR ME", "quiet"],
    "head": ["ask ann@example.com", "HEAR ME", "quiet"],
    "kept_for": ["", "", ""],
}
WAIVER = {"expectation": "max_duplicate_share", "who": "ann", "reason": "a refrain", "expires": "2026-11-26"}


def judged(numbers: dict[str, float], expected: dict[str, Any]) -> Report:
    return validate(numbers, SAMPLE, expected, today=TODAY)


def test_invariants_and_contamination_refuse_what_quality_and_drift_only_warn_of() -> None:
    numbers = {"duplicate_share": 0.6, "contamination_share": 0.2, "mean_bytes": 5, "mean_bytes_drift": 0.9}
    limits = {"max_duplicate_share": 0.5, "max_contamination_share": 0, "min_mean_bytes": 20, "max_mean_bytes_drift": 0.5}
    report = judged(numbers, limits)
    assert {row.name: (row.suite, row.verdict) for row in report.rows} == {
        "max_duplicate_share": ("invariants", "failed"),
        "max_contamination_share": ("contamination", "failed"),
        "min_mean_bytes": ("quality", "warned"),
        "max_mean_bytes_drift": ("drift", "warned"),
    }
    assert not report.passed
    assert judged(numbers, {name: limits[name] for name in ("min_mean_bytes", "max_mean_bytes_drift")}).passed


def test_a_number_without_words_of_its_own_may_be_bounded_and_blocks() -> None:
    report = judged({"pii_email_found_share": 0.4}, {"max_pii_email_found_share": 0.1})
    assert [(row.expectation, row.verdict) for row in report.rows] == [("pii email found share", "failed")]


def test_what_was_not_measured_is_said_and_never_taken_for_passed() -> None:
    report = judged({"rows": 3}, {"min_rows": 3, "max_contamination_share": 0, "max_length_drift": 0.2})
    assert [row.name for row in report.rows] == ["min_rows"]
    assert {each.name: each.why for each in report.not_judged} == {
        "max_contamination_share": "no evaluation sets are named",
        "max_length_drift": "there is no earlier version to compare with",
    }
    with pytest.raises(InputError, match="no number of the profile is bounded by it; the nearest is rows"):
        judged({"rows": 3}, {"min_row": 3})
    with pytest.raises(InputError, match="no number of the profile"):
        judged({"rows": 3}, {"max_empty_share": 0})  # an invariant that nobody counted


def test_a_waived_failure_passes_and_stays_visible() -> None:
    numbers, limits = {"duplicate_share": 0.6, "empty_share": 0.0}, {"max_duplicate_share": 0.5, "max_empty_share": 0.0}
    report = judged(numbers, {**limits, "waivers": [WAIVER]})
    assert report.passed
    (waived,) = report.having("waived")
    assert (waived.success, waived.passed) == (False, True)
    assert report.document()["expectations"][0]["waiver"] == WAIVER
    assert report.summary()["waived"] == [
        {"name": "max_duplicate_share", "words": "share of exact duplicates", "observed": 0.6, "asked": "at most 0.5", **WAIVER}
    ]


def test_a_waiver_ends_on_its_day_and_is_named_afterwards() -> None:
    expired = {**WAIVER, "expires": date(2026, 11, 25)}
    report = judged({"duplicate_share": 0.6}, {"max_duplicate_share": 0.5, "waivers": [expired]})
    assert not report.passed
    assert report.document()["expired_waivers"] == [{**WAIVER, "expires": "2026-11-25"}]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reason": " "}, "says no reason"),
        ({"who": "", "expires": ""}, "says no who, no expires"),
        ({"expires": "soon"}, "'soon' is no date"),
        ({"until": "2027-01-01"}, "a waiver has no until"),
        ({"expectation": "max_duplicates_share"}, "no expectation of this name; the nearest is max_duplicate_share"),
    ],
)
def test_half_a_waiver_and_one_of_nothing_are_errors(change: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        judged({"duplicate_share": 0.6}, {"max_duplicate_share": 0.5, "waivers": [{**WAIVER, **change}]})


OWN = """
    from infra.validation import expectation, gx_expectation

    @expectation("max_shouting_share", 0.1, words="share of sampled documents in capitals", severity="warn")
    def shouting(profile, sample):
        return sample["head"].str.isupper()

    @expectation("min_rows_a_label", 10, suite="invariants", kinds=["classification"])
    def rows_a_label(profile, sample):
        return profile["rows"] / profile["labels"]

    quiet = gx_expectation(
        "nobody_asks",
        lambda gx: gx.expectations.ExpectColumnValuesToNotMatchRegex(column="head", regex="^ask", mostly=0.9),
        words="nobody asks",
        severity="block",
    )
"""


def test_expectations_of_ones_own_are_judged_beside_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gates.py").write_text(textwrap.dedent(OWN))
    report = judged({"rows": 30, "labels": 6}, {"min_rows": 3, "modules": [str(tmp_path / "gates.py")]})
    assert {row.name: (row.verdict, row.observed and round(row.observed, 2), row.limit) for row in report.rows} == {
        "min_rows": ("passed", 30, "at least 3"),
        "max_shouting_share": ("warned", 0.33, "at most 0.1"),
        "nobody_asks": ("failed", 0.67, "holds"),
    }
    assert [row.examples for row in report.rows] == [[], ["b: HEAR ME"], ["a: ask a••@•••••••.•••"]]
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gates.py"))
    of_labels = validate({"rows": 30, "labels": 6}, SAMPLE, {"min_rows_a_label": 5}, kind="classification")
    assert {row.name: row.verdict for row in of_labels.rows}["min_rows_a_label"] == "passed"  # by the recipe's limit
    assert validate({"rows": 30, "labels": 6}, SAMPLE, {}, kind="classification").having("failed")[0].name == "min_rows_a_label"


def test_an_expectation_that_cannot_run_is_no_pass(tmp_path: Path) -> None:
    module = tmp_path / "broken.py"
    module.write_text(
        "from infra.validation import expectation\n\n@expectation('max_x', 1)\ndef x(profile, sample):\n    return profile['y']\n"
    )
    with pytest.raises(InputError, match="its function failed \\(KeyError: 'y'\\)"):
        judged({"rows": 3}, {"modules": [str(module)]})
    module = tmp_path / "no_column.py"
    module.write_text(
        "from infra.validation import gx_expectation\n"
        "a = gx_expectation('a', lambda gx: gx.expectations.ExpectColumnValuesToBeUnique(column='none'), words='a')\n"
    )
    with pytest.raises(SlipwayError, match="could not judge"):
        judged({"rows": 3}, {"modules": [str(module)]})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("gone.py", None, "no such file"),
        ("no_such_module_of_gates", None, "cannot be imported"),
        ("empty.py", "x = 1\n", "defines no expectation"),
        ("wrong.py", "x = \n", "cannot be imported \\(SyntaxError"),
    ],
)
def test_a_module_that_is_none_is_named(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    path = str(tmp_path / name) if name.endswith(".py") else name
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        judged({"rows": 3}, {"modules": [path]})


def test_a_name_that_is_taken_or_bounds_nothing_is_refused() -> None:
    for name, said in (("max_empty_share", "is one of Slipway's own"), ("shouting", "begins with neither")):
        with pytest.raises(InputError, match=said):
            expectation(name, 1)(lambda profile, sample: 0)
    assert gx_expectation("anything", lambda gx: None, words="may be called anything").suite == "quality"


def test_every_default_bounds_a_number_that_has_words() -> None:
    for kind in KINDS:
        assert {bound_of(name)[1] for name in DEFAULTS[kind]} <= set(MEASURES)


def profile(lengths: dict[float, int], **shares: dict[str, float]) -> dict[str, Any]:
    histogram = {"edges": [*lengths, 9e9], "counts": list(lengths.values())}
    return {"numbers": {"mean_bytes": 100.0, "rejected_share": 0.1}, "histograms": {"bytes": histogram}, "shares": shares}


def test_data_that_has_moved_differs_from_its_last_version_and_chance_does_not() -> None:
    before = profile({16.0: 10, 32.0: 60, 64.0: 30}, languages={"en": 0.9, "de": 0.1}, labels={"ham": 0.8, "spam": 0.2})
    same = profile({16.0: 14, 32.0: 55, 64.0: 31}, languages={"en": 0.9, "de": 0.1}, labels={"ham": 0.8, "spam": 0.2})
    found = drift(same, before)
    assert found == {"mean_bytes_drift": 0, "rejected_drift": 0, "language_drift": 0, "label_drift": 0, "length_drift": 0}
    moved = profile({64.0: 30, 128.0: 70}, languages={"fr": 1.0}, labels={"ham": 0.5, "spam": 0.5})
    moved["numbers"] = {"mean_bytes": 150.0, "rejected_share": 0.4}
    found = drift(moved, before)
    assert found["mean_bytes_drift"] == pytest.approx(0.5)
    assert found["rejected_drift"] == pytest.approx(0.3)
    assert found["language_drift"] == pytest.approx(1)
    assert found["label_drift"] == pytest.approx(0.3)
    assert found["length_drift"] > 1
    assert drift(moved, {}) == {}
