"""The page stands alone: it shows the verdict and why in a real browser, loads nothing, runs nothing, and tells no secret."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from infra.validation import Subject, document_of, drift, validate, write_report
from infra.validation.page import page
from llm.data.counted import Counted, Example
from llm.data.documents import Document
from llm.data.profile import Profiler
from tests.e2e.browser import CHROMIUM, NEEDS_CHROMIUM

TODAY = date(2026, 11, 26)
EVIL = "</style><script>document.title='run'</script><img src=http://127.0.0.1:9/ onerror=alert(1)> \u202e write ann@example.com"


def report_document() -> dict[str, Any]:
    """Of a corpus that is refused, warned of and waived all at once, and moved since its last version."""
    now, before = Profiler(), Profiler()
    for n in range(300):
        now.add(
            Document(f"d{n}", f"d{n}", "a.jsonl", f"{EVIL if n % 50 == 0 else ''} a plain sentence, number {n}. " * (1 + n % 40))
        )
        before.add(Document(f"d{n}", f"d{n}", "a.jsonl", f"a plain sentence, number {n}. "))
    rejected = {"exact-duplicate": 80, "undecodable": 12, "unreadable-file": 1}
    examples = tuple(Example(reason, f"r-{reason}-{n}", "b.jsonl", n, EVIL, EVIL) for reason in rejected for n in range(3))
    counted = Counted(rows=393, rejected=rejected, found={"pii:key": 40}, found_rows={"pii:key": 40, "pii": 40}, examples=examples)
    profile = now.result(counted)
    previous: dict[str, Any] = {"version": "1", "profile": before.result(Counted(rows=300)).document()}
    numbers = {**profile.numbers, **drift(profile.document(), previous["profile"])}
    waiver = {"expectation": "max_unreadable_files", "who": "ann <b>", "reason": "</p><script>", "expires": "2027-01-31"}
    limits = {"max_secret_share": 0.01, "max_duplicate_share": 0.1, "max_unreadable_files": 0, "max_mean_bytes_drift": 0.5}
    report = validate(
        numbers, profile.sample(), {**limits, "max_contamination_share": 0, "min_bytes": 5, "waivers": [waiver]}, today=TODAY
    )
    subject = Subject(
        kind="corpus",
        name="messy <corpus>",
        version="9f2c41ab",
        summary="2 files",
        path="/data/messy",
        rows=393,
        rejected=rejected,
        found=counted.found,
        found_rows=counted.found_rows,
        profile=profile.document(),
        offenders=[
            {"id": each.id, "source": each.source, "row": each.row, "reason": each.what, "detail": each.detail, "text": each.text}
            for each in examples
        ],
        previous=previous,
        rejected_file="rejected.parquet",
        findings_file="findings.parquet",
    )
    return document_of(subject, report, today=TODAY)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return report_document()


@pytest.fixture(scope="module")
def shown(document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser's page with the report, and everything it said or asked for meanwhile."""
    from playwright.sync_api import sync_playwright

    path = write_report(document, tmp_path_factory.mktemp("report"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            tab = browser.new_page(viewport={"width": 1180, "height": 900}, color_scheme="dark")
            said: list[str] = []
            tab.on("console", lambda message: said.append(message.text))
            tab.on("pageerror", lambda error: said.append(str(error)))
            tab.on("request", lambda request: said.append(request.url))
            tab.goto(path.as_uri())
            yield tab, said
        finally:
            browser.close()


@NEEDS_CHROMIUM
def test_a_browser_shows_it_and_has_nothing_to_load_run_or_complain_of(shown: Any) -> None:
    tab, said = shown
    assert said == [tab.url]  # the page itself
    assert tab.title() == "Refused: messy <corpus>"
    assert tab.locator("script, iframe, link[rel=stylesheet], img").count() == 0
    assert tab.locator("h2").all_inner_texts() == [
        "What failed",
        "Warnings",
        "Waived",
        "Rejected rows",
        "Found and kept",
        "Profile",
        "Every expectation",
    ]
    for width in (1180, 390):
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out


@NEEDS_CHROMIUM
def test_the_verdict_comes_first_then_what_failed_with_rows_that_show_it(shown: Any) -> None:
    tab, _ = shown
    assert tab.locator(".verdict").inner_text().startswith("Refused\n2 of 5 expectations failed: ")
    failed = tab.locator("#failed article")
    assert failed.count() == 2
    assert "13.3 %, wanted at most 1 %" in failed.first.inner_text()
    assert tab.locator("#waived .waiver").inner_text().startswith("ann <b>, until 2027-01-31: ")
    assert "exact-duplicate" in tab.locator("#rejected summary").first.inner_text()
    assert tab.locator("#rejected details").first.locator("li").count() == 3
    tab.set_viewport_size({"width": 1180, "height": 900})
    bars = tab.locator("#profile svg rect")
    assert bars.count() >= 8
    assert tab.locator("#profile svg path.before").count() == 1
    heights = bars.evaluate_all("bars => bars.map(bar => bar.getBoundingClientRect().height)")
    assert max(heights) > 50


@NEEDS_CHROMIUM
def test_light_and_dark_are_both_legible(shown: Any) -> None:
    tab, _ = shown
    papers = []
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        colours = tab.evaluate(
            "() => { const s = getComputedStyle(document.body);"
            " return [s.color, s.backgroundColor].map(c => c.match(/\\d+/g).map(Number)) }"
        )
        ink, paper = ((sum(colour) / 3 / 255) for colour in colours)
        assert abs(ink - paper) > 0.7
        papers.append(paper)
    assert papers[0] > 0.9 > 0.2 > papers[1]


def test_no_text_escapes_and_no_secret_is_told(document: dict[str, Any]) -> None:
    html = page(document)
    for forbidden in ("<script", "<img", "ann@example.com", "\u202e", "ann <b>"):
        assert forbidden not in html
    assert "&lt;script&gt;" in html
    assert "ann@example.com" not in json.dumps(document, ensure_ascii=False)


def test_the_same_document_makes_the_same_page_and_survives_its_json(document: dict[str, Any], tmp_path: Path) -> None:
    path = write_report(document, tmp_path / "deep" / "out")
    again = json.loads((path.parent / "report.json").read_text())
    assert again == document
    assert page(again) == path.read_text()
    assert len(path.read_bytes()) < 60_000


def test_a_page_of_nothing_is_a_page(document: dict[str, Any]) -> None:
    empty = {
        **document,
        **{name: {} for name in ("rejected", "found", "found_rows")},
        "rejected_examples": [],
        "expectations": [],
        "not_judged": [],
        "previous": None,
        "rows": 0,
        "kept": 0,
        "passed": True,
        "profile": Profiler().result().document(),
    }
    assert "Passed: messy &lt;corpus&gt;" in page(empty)
