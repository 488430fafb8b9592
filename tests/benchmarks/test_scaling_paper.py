"""The handbook's tables of the plan for many GPUs are what the code prints."""

from pathlib import Path

from benchmarks.scaling_paper import text

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"


def test_the_pages_tables_are_those_that_the_plan_prints() -> None:
    _, after = PAGE.read_text().split("<!-- python -m benchmarks.scaling --paper -->\n")
    tables, _ = after.split("<!-- end -->")
    assert tables.strip() == text()
