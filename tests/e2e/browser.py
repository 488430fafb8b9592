"""Prefect's pages as a person uses them: a form is opened by its flow's name, filled in by its titles, and its run watched."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import Error, Locator, Page, Response, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
NEEDS_CHROMIUM = pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"no {CHROMIUM}: apt-get install chromium")
_LOADED = 30_000.0  # milliseconds for a page, on a machine that is busy with training


@contextmanager
def pages(prefect: str) -> Iterator["Pages"]:
    """A browser on the pages of the server at `prefect`, without /api."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            page = browser.new_page(viewport={"width": 1200, "height": 900})
            page.set_default_timeout(_LOADED)
            yield Pages(prefect, page)
        finally:
            browser.close()


@dataclass(frozen=True)
class Pages:
    """What a person sees, in `page`, and what the server says to a program, from `api`."""

    url: str
    page: Page

    def api(self, path: str, question: Any = None, method: str = "") -> Any:
        """Asks the server: GET without a question, else POST. Its 503 is a write conflict in SQLite, and means to ask again."""
        body = None if question is None else json.dumps(question).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/{path}", body, headers, method=method or None)
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    said = answer.read()
                    return json.loads(said) if said else None
            except urllib.error.HTTPError as error:
                if error.code != 503 or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def open_deployment(self, flow: str) -> None:
        """From the list of deployments to the page of one, by search and click; once more where a page stays empty after a 503."""
        try:
            self._open_deployment(flow)
        except Error:
            self._open_deployment(flow)

    def _open_deployment(self, flow: str) -> None:
        self.page.goto(f"{self.url}/deployments")
        self.page.get_by_placeholder("Search deployments").fill(flow)
        named = re.compile(rf"^\s*{re.escape(flow)}\s*$")
        self.page.locator("a[href*='/deployments/deployment/']").filter(has_text=named).first.click()

    def open_form(self, flow: str) -> "Form":
        """The same, and on to its form."""
        self.open_deployment(flow)
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_text("Custom run").click()
        self.page.get_by_role("button", name="Submit").wait_for()
        return Form(self)

    def wait_for_state(self, run: str, state: str, seconds: float) -> None:
        """Watches the page of a run until it shows `state`."""
        if run not in self.page.url:
            self.page.goto(f"{self.url}/runs/flow-run/{run}")
        expect(self.page.locator(".state-badge").first).to_have_text(state, timeout=1000 * seconds)


@dataclass(frozen=True)
class Form:
    """The form of a flow. A field is named by the titles on the way to it: `fill("book.txt", "Data", "Path")`."""

    pages: Pages

    def field(self, *titles: str) -> Locator:
        page = self.pages.page
        place = page.locator("form")
        for title in titles:
            label = page.locator(":scope > .p-label__header .schema-form-property__label")
            named = label.filter(has_text=re.compile(rf"^{re.escape(title)}( \(Optional\))?$"))
            place = place.locator(".schema-form-property").filter(has=named).first
        return place

    def fill(self, value: object, *titles: str) -> None:
        box = self.field(*titles).locator("textarea, input").first
        box.fill(str(value))
        box.press("Tab")
        expect(box).to_have_value(str(value))

    def choose(self, value: str, *titles: str) -> None:
        self._opened(*titles).filter(has_text=value).click()
        # Until the page has taken it in, what is typed elsewhere is lost.
        expect(self.field(*titles).locator(".p-select-button__value")).to_have_text(value)

    def choices(self, *titles: str) -> list[str]:
        options = self._opened(*titles)
        options.first.wait_for()
        found = options.all_inner_texts()
        self.pages.page.keyboard.press("Escape")
        options.first.wait_for(state="detached")
        return found

    def _opened(self, *titles: str) -> Locator:
        arrow = self.field(*titles).locator(".p-select-button__icon")
        arrow.scroll_into_view_if_needed()
        arrow.click(force=True)  # it lies under the edge of the control, which hands the click on
        return self.pages.page.locator(".p-select-option")

    def submit(self) -> None:
        self.pages.page.get_by_role("button", name="Submit").click()

    def expect(self, words: str, *titles: str) -> None:
        """Waits until a field shows these words."""
        expect(self.field(*titles)).to_contain_text(words)

    def refused(self) -> str:
        """Submits, and returns what the page says against it."""
        self.submit()
        return self.pages.page.get_by_text("Error creating flow run").first.inner_text()

    def start(self) -> str:
        """Submits, again where the server is short of its database (503), and returns the id of the run."""

        def submitted() -> Response:
            with self.pages.page.expect_response(lambda answer: answer.url.endswith("/create_flow_run")) as answer:
                self.submit()
            return answer.value

        answer = submitted()
        while answer.status == 503:
            answer = submitted()
        return str(answer.json()["id"])
