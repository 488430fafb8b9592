"""The model card: what a reviewer reads on the registry's page, rendered from evidence and lineage."""

from collections.abc import Mapping
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
        *(f"- text: {source['name']}, sha256 `{source['sha256'][:12]}`" for source in lineage.get("sources", [])[:5]),
        "",
        "## How it goes on",
        *(f"- **{sample['prompt']}**{_quoted(sample['text'])}" for sample in evidence["samples"]),
    ]
    return "\n".join(lines)


_ROWS = {"model": "this model", "champion": "the champion", "ngram": "order-3 n-gram model", "xz": "xz"}
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


def _quoted(text: str) -> str:
    return " ".join(text.split())[:200]
