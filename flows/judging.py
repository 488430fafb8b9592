"""Data of any kind, judged as it lies there: read, cleaned, counted, put before the gate. A report is left, and no dataset."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from flows.reporting import FINDINGS, REJECTED, Gathered, report_on
from infra.store.errors import StoreError
from infra.store.folder import FolderStore
from infra.store.protocol import Store
from infra.tasks import run_tasks
from infra.validation import Kind, Report
from infra.validation.written import DOCUMENT, PAGE
from llm.data import instruction_sources, labelled, preference_sources
from llm.data.gathering.counts import counted, rejected_rows
from llm.data.gathering.gather import gather
from llm.data.gathering.plan import Source
from llm.data.kinds.result import Rows
from llm.data.kinds.sources import look
from llm.data.kinds.written import write_findings, write_rejected
from llm.data.profile import Profiler
from llm.data.reading.found import Found
from llm.data.reading.inspect import inspect
from llm.events import Noted, Observer

_ROWS: Final[Mapping[str, Callable[..., Rows[Any]]]] = {
    "instruction": instruction_sources.judge,
    "preference": preference_sources.judge,
    "classification": labelled.judge,
}
_ALONE: Final = 40_000_000  # bytes of text up to which starting other processes is not worth it
_SHOWN: Final = ("kind", "name", "version", "summary", "judged", "rows", "kept", "passed", "expectations", "not_judged")
_COUNTED: Final = ("expired_waivers", "rejected", "found", "found_rows")


@dataclass(frozen=True)
class Judged:
    """What came of it. `rows` were read, of which `kept` stayed; `rejected` and `found` count by reason and kind.

    document: what the command prints: the report without the profile, and where the files are.
    """

    report: Report
    rows: int
    kept: int
    rejected: Mapping[str, int]
    found: Mapping[str, int]
    rejected_file: Path
    findings_file: Path
    report_file: Path
    document: Mapping[str, Any]


def judge(
    kind: Kind,
    path: str,
    recipe: Any,
    out: Path | None,
    observe: Observer,
    *,
    home: Path = Path(),
    store: Store | None = None,
) -> Judged:
    """Judges what lies at `path` by a recipe's section (`DataConfig`, `ClassificationData`, ...), and writes into `out`, by default
    `validations/<name>-<version>` of the home, `report.html`, `report.json`, `rejected.parquet` and `findings.parquet`.

    store: where an earlier version of the same dataset is looked for. Raises InputError for what cannot be read.
    """
    recipe = replace(recipe, path=path)
    found = inspect(path) if kind == "corpus" else look(path)
    folder = out or home / "validations" / f"{recipe.dataset_name}-{found.version}"
    folder.mkdir(parents=True, exist_ok=True)
    gathered = (
        _corpus(path, found, recipe, folder, observe) if kind == "corpus" else _rows(kind, path, found, recipe, folder, observe)
    )
    try:
        report, document = report_on(gathered, recipe.expectations, folder, store)
    except StoreError as error:  # to judge what lies here, nothing needs to be reached
        observe(Noted(f"not compared with an earlier version: {error.what} ({error.where})"))
        report, document = report_on(gathered, recipe.expectations, folder, None)
    files = {"rejected_file": REJECTED, "findings_file": FINDINGS, "report": PAGE, "report_json": DOCUMENT}
    places = {name: folder.absolute() / file for name, file in files.items()}
    shown = {name: document[name] for name in (*_SHOWN, *_COUNTED)} | {name: str(place) for name, place in places.items()}
    return Judged(
        report=report,
        rows=document["rows"],
        kept=document["kept"],
        rejected=document["rejected"],
        found=document["found"],
        rejected_file=places["rejected_file"],
        findings_file=places["findings_file"],
        report_file=places["report"],
        document=shown,
    )


def _corpus(path: str, found: Found, recipe: Any, folder: Path, observe: Observer) -> Gathered:
    """Documents, gathered as the flow does, into a folder that is thrown away but for the lists of rows."""
    observe(Noted(found.summary))
    profiler = Profiler(duplicates=recipe.rules.duplicates == "keep")
    run = partial(run_tasks, workers=recipe.workers or os.cpu_count() or 1)
    with tempfile.TemporaryDirectory(prefix=".gathering-", dir=folder) as scratch:
        gathered = gather(
            [Source(found, text_column=recipe.text_column)],
            recipe.rules,
            store=FolderStore(Path(scratch) / "store"),
            key="judged",
            folder=Path(scratch) / "gathered",
            max_document_bytes=recipe.max_document_bytes,
            run=run if found.text_bytes > _ALONE else None,
            observe=observe,
            watch=profiler.watch,
        )
        for here, name in ((gathered.rejected_file, REJECTED), (gathered.findings_file, FINDINGS)):
            shutil.move(here, folder / name)
    gathered = replace(gathered, rejected_file=folder / REJECTED, findings_file=folder / FINDINGS)
    counts = counted(gathered, recipe.rules)
    return Gathered(
        "corpus", recipe.dataset_name, path, found, profiler.result(counts), counts, rejected_rows(gathered.rejected_file)
    )


def _rows(kind: Kind, path: str, found: Found, recipe: Any, folder: Path, observe: Observer) -> Gathered:
    """Rows of a kind, as their own room reads them."""
    rows: Rows[Any] = _ROWS[kind](recipe, recipe.cleaning)
    source = replace(found, summary=f"{found.summary}; {rows.columns_found}" if rows.columns_found else found.summary)
    observe(Noted(source.summary))
    write_rejected(rows.rejected, folder)
    write_findings(rows.findings, folder)
    return Gathered(kind, recipe.dataset_name, path, source, rows.profile, rows.counted(), rows.rejected)
