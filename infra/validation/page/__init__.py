"""The report as one HTML page that needs nothing else: the verdict first, then why, then where the rows went and what they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from infra.validation.page.charts import size
from infra.validation.page.sections import TONES, drawn, every, found, judgements, rejected
from infra.validation.page.shown import counted, ordered, share, text

_STYLE: Final = Path(__file__).with_name("page.css")
_PASSED: Final = '<path d="M13 22.5l6.2 6.2L31 16" fill="none" stroke="currentColor" stroke-width="3" stroke-linecap="round"/>'
_FAILED: Final = '<path d="M15 15l14 14M29 15L15 29" fill="none" stroke="currentColor" stroke-width="3" stroke-linecap="round"/>'


def page(document: Mapping[str, Any]) -> str:
    """HTML of a report's document, as `report.json` has it. All text is escaped, and what may be personal is masked once more."""
    title = f"{'Passed' if document['passed'] else 'Refused'}: {document['name']}"
    parts = [
        _head(document),
        _verdict(document),
        _tiles(document),
        _flow(document),
        judgements(document),
        rejected(document),
        found(document),
        drawn(document),
        every(document),
        _foot(document),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Whatever a text may hold: nothing is run, nothing is loaded.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        f'<link rel="icon" href="data:,"><title>{text(title)}</title><style>{_STYLE.read_text()}</style></head>'
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(document: Mapping[str, Any]) -> str:
    version = f" · <code>{text(document['version'])}</code>" if document.get("version") else ""
    return (
        '<header><p class="eyebrow">Slipway · data validation</p>'
        f'<h1>{text(document["name"])} <span class="chip">{text(document["kind"])}</span></h1>'
        f'<p class="meta">{text(document.get("summary", ""))}{version}</p></header>'
    )


def _verdict(document: Mapping[str, Any]) -> str:
    judged = document["expectations"]
    of = {verdict: [each for each in judged if each["verdict"] == verdict] for verdict in ("failed", "warned", "waived", "passed")}
    said = [f"{len(of['passed'])} of {len(judged)} expectations hold"]
    if not document["passed"]:
        said = [f"{len(of['failed'])} of {len(judged)} expectations failed: {', '.join(each['words'] for each in of['failed'])}"]
    said += [counted(len(of["warned"]), "warning")] * bool(of["warned"])
    said += [counted(len(of["waived"]), "waiver")] * bool(of["waived"])
    word, tone, sign = ("Passed", "passed", _PASSED) if document["passed"] else ("Refused", "failed", _FAILED)
    disc = '<circle cx="22" cy="22" r="21" fill="currentColor" opacity=".13"/>'
    icon = f'<svg viewBox="0 0 44 44" aria-hidden="true">{disc}{sign}</svg>'
    return f'<section class="card verdict {tone}">{icon}<div><strong>{word}</strong>{text("; ".join(said))}.</div></section>'


def _tiles(document: Mapping[str, Any]) -> str:
    numbers = document["profile"]["numbers"]
    rejected = document["rows"] - document["kept"]
    tiles = [
        (f"{document['rows']:,}", "rows read"),
        (f"{document['kept']:,}", "rows kept"),
        (f"{rejected:,}", f"rejected ({share(rejected, document['rows'])})"),
        (size(numbers.get("bytes", 0)), "of text kept"),
        (size(numbers.get("median_bytes", 0)), "median length"),
        *([(f"{numbers['labels']:,.0f}", "labels")] if "labels" in numbers else []),
        (f"{sum(document['found'].values()):,}", "findings kept"),
    ]
    shown = "".join(f'<div class="card tile"><b>{value}</b><span>{text(words)}</span></div>' for value, words in tiles)
    return f'<section class="tiles">{shown}</section>'


def _flow(document: Mapping[str, Any]) -> str:
    """One bar of all rows: how many were kept, how many rejected for which reason."""
    if not document["rows"]:
        return ""
    parts = [("kept", document["kept"], "k")]
    parts += [(reason, count, f"c{place % TONES}") for place, (reason, count) in enumerate(ordered(document["rejected"]))]
    bar = "".join(
        f'<i class="{tone}" style="flex:{count} 1 0" title="{text(name)}: {count:,}"></i>' for name, count, tone in parts if count
    )
    legend = "".join(f'<span><i class="{tone}"></i>{text(name)}<b>{count:,}</b></span>' for name, count, tone in parts if count)
    return f'<section class="card flow"><div class="bar">{bar}</div><div class="legend">{legend}</div></section>'


def _foot(document: Mapping[str, Any]) -> str:
    said = [f"Read from {document['path']}."] if document.get("path") else []
    said += [f"Judged on {document['judged']}."] if document.get("judged") else []
    said += ["This page loads nothing and runs nothing; what looks like personal data is masked in it."]
    return f"<footer>{text(' '.join(said))}</footer>"
