"""The model card: what a reviewer reads on the registry's page, rendered from evidence and lineage."""

from collections.abc import Mapping, Sequence
from typing import Any


def card(name: str, evidence: Mapping[str, Any], lineage: Mapping[str, Any]) -> str:
    """Markdown. evidence: `evidence.json`; lineage: the package's `lineage.json`."""
    measured = evidence["bits_per_byte"]
    model = measured["model"]
    lines = [
        f"# {name}, a candidate",
        "",
        f"**{model['value']:.3f} bits per byte** on {model['n']} held-out documents{_interval(model)}.",
        "",
        "| on the same documents | bits per byte |",
        "| --- | --- |",
        *(f"| {label} | {measured[key]['value']:.3f} |" for key, label in _ROWS.items() if key in measured),
        "",
        "## Gates",
        *(f"- {'passed' if gate['passed'] else '**failed**'}: {gate['name']} ({gate['observed']})" for gate in evidence["gates"]),
        *([] if evidence["gates"] else ["- none: there is no champion to compare with"]),
        "",
        "## Where it comes from",
        *(f"- {label}: `{lineage[key]}`" for key, label in _ORIGINS.items() if lineage.get(key)),
        *_sources(lineage.get("sources", [])),
        "",
        "## How it goes on",
        *(f"- **{sample['prompt']}**{one_line(sample['text'])[:200]}" for sample in evidence["samples"]),
    ]
    return "\n".join(lines)


_ROWS = {"model": "this model", "champion": "the champion", "ngram": "order-3 n-gram model", "xz": "xz"}
_NAMED = 5  # of more files than these, the card gives the count
_ORIGINS = {
    "run": "run",
    "package": "package",
    "tokens": "token shards",
    "licence": "licence of the text",
    "interpreter": "text read with",
    "imported_from": "imported from",
}


def _interval(measured: Mapping[str, Any]) -> str:
    known = measured["low"] is not None
    return f" (95 % interval {measured['low']:.3f} to {measured['high']:.3f})" if known else ", too few for an interval"


def _sources(sources: Sequence[Mapping[str, Any]]) -> list[str]:
    if len(sources) > _NAMED:
        total = sum(source["bytes"] for source in sources)
        return [f"- text: {len(sources):,} files, {total:,} bytes; `lineage.json` has the sha256 of each"]
    return [f"- text: {source['name']}, sha256 `{source['sha256'][:12]}`" for source in sources]


def one_line(text: str) -> str:
    """A continuation on one line; the space it begins with, if any, belongs to the sentence."""
    return " " * text[:1].isspace() + " ".join(text.split())
