"""What docs/validation.md says of expectations is so: its table is the one in the code, and its example runs."""

import re
from collections.abc import Mapping
from pathlib import Path

from infra.validation import DEFAULTS, KINDS, validate
from infra.validation.suites import MEASURES, bound_of, said

PAGE = Path(__file__).parents[3] / "docs/validation.md"
MARKS = ("<!-- expectations: begin -->\n", "<!-- expectations: end -->")


def table() -> str:
    """Every number, in the order of the suites, with the limits that hold where a recipe says none."""
    lines = ["| number | suite | what it is | by default |", "| --- | --- | --- | --- |"]
    for number, measure in MEASURES.items():
        by_kind = {kind: _limits(number, DEFAULTS[kind]) for kind in KINDS}
        different = {limit for limit in by_kind.values() if limit}
        kinds = [kind for kind, limit in by_kind.items() if limit]
        if len(different) == 1:
            limits = different.pop() + ("" if len(kinds) == len(KINDS) else f" ({', '.join(kinds)})")
        else:
            limits = "; ".join(f"{by_kind[kind]} ({kind})" for kind in kinds)
        lines.append(f"| `{number}` | {measure.suite} | {measure.words} | {limits or '-'} |")
    return "\n".join(lines) + "\n"


def _limits(number: str, limits: Mapping[str, float]) -> str:
    return ", ".join(f"{bound_of(name)[0]} {said(limit)}" for name, limit in limits.items() if bound_of(name)[1] == number)


def test_the_table_is_that_of_the_code() -> None:
    shown = PAGE.read_text().partition(MARKS[0])[2].partition(MARKS[1])[0]
    assert shown == table()


def test_the_example_is_judged(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "my_gates.py").write_text(example)
    sample = {"id": ["a"], "preview": ["LOREM IPSUM"], "head": ["LOREM IPSUM"], "kept_for": [""]}
    report = validate({"bytes": 11, "documents": 1}, sample, {"modules": [str(tmp_path / "my_gates.py")]})
    assert {row.name: row.verdict for row in report.rows} == {
        "max_shouting_share": "warned",
        "min_bytes_a_document": "failed",
        "no_lorem_ipsum": "warned",
    }
