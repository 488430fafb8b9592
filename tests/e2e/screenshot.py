"""The picture in docs/ui.md: `python -m tests.e2e.screenshot http://127.0.0.1:4200 docs/images/lifecycle-form.png`."""

import sys
from pathlib import Path

from tests.e2e.browser import pages


def take(prefect: str, picture: Path) -> None:
    with pages(prefect) as shown:
        shown.page.set_viewport_size({"width": 1100, "height": 860})
        form = shown.open_form("lifecycle")
        form.fill("books/", "Data", "Path")
        form.choose("llama-14m", "Pretraining", "Model", "Preset")
        form.fill(2000, "Pretraining", "Training", "Steps")
        form.field("Pretraining").evaluate("field => field.scrollIntoView({block: 'start'})")
        shown.page.wait_for_load_state("networkidle")
        shown.page.screenshot(path=picture)


if __name__ == "__main__":
    take(sys.argv[1].rstrip("/"), Path(sys.argv[2]))
