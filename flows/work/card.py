"""The model card: what a reviewer reads on the registry's page, rendered from evidence and lineage."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flows.work.course import course

_Part = Callable[[Mapping[str, Any]], list[str]]


def card(name: str, evidence: Mapping[str, Any], lineage: Mapping[str, Any]) -> str:
    """Markdown. evidence: `evidence.json`; lineage: the package's `lineage.json`."""
    measured, shown = _KINDS[evidence["kind"]]
    lines = [
        f"# {name}, a candidate",
        "",
        *measured(evidence),
        "",
        *_foresight(lineage),
        *course(lineage),
        "## Gates",
        *(f"- {'passed' if gate['passed'] else '**failed**'}: {gate['name']} ({gate['observed']})" for gate in evidence["gates"]),
        *([] if evidence["gates"] else ["- none: there is no champion to compare with"]),
        "",
        *_data(lineage),
        "## Where it comes from",
        *(f"- {label}: `{lineage[key]}`" for key, label in _ORIGINS.items() if lineage.get(key)),
        *_sources(lineage.get("sources", [])),
        "",
        *shown(evidence),
    ]
    return "\n".join(lines)


def import_card(name: str, kind: str, lineage: Mapping[str, Any]) -> str:
    """Markdown for a model from outside, of which nothing has been measured here."""
    measure = f"slipway run register --set base=models:/{name}/VERSION --set registration.name={name}"
    lines = [
        f"# {name}, imported",
        "",
        f"Not trained here ({kind}). **Nothing of it has been measured**: no gate has run, and it cannot be approved.",
        f"`{measure}` measures it.",
        "",
        "## Where it comes from",
        *(f"- {label}: `{lineage[key]}`" for key, label in _ORIGINS.items() if lineage.get(key)),
        *([] if lineage.get("model_licence") else ["- licence of the model: not stated"]),
    ]
    return "\n".join(lines)


_ROWS = {
    "model": "this model",
    "champion": "the champion",
    "ngram": "order-3 n-gram model",
    "xz": "xz",
    "tfidf": "TF-IDF with logistic regression",
    "majority": "the most frequent label",
}
_NAMED = 5  # of more files than these, the card gives the count
_ORIGINS = {
    "run": "run",
    "package": "package",
    "base": "finetuned from",
    "adapters": "by adapters (LoRA), merged into it",
    "tokens": "token shards",
    "examples": "examples",
    "licence": "licence of the text",
    "interpreter": "text read with",
    "imported_from": "imported from",
    "revision": "at the commit",
    "model_licence": "licence of the model",
    "weights_sha256": "sha256 of the weights",
}


def _bits_per_byte(evidence: Mapping[str, Any]) -> list[str]:
    measured = evidence["bits_per_byte"]
    model = measured["model"]
    return [
        f"**{model['value']:.3f} bits per byte** on {model['n']} held-out documents{_interval(model)}.",
        "",
        "| on the same documents | bits per byte |",
        "| --- | --- |",
        *(f"| {label} | {measured[key]['value']:.3f} |" for key, label in _ROWS.items() if key in measured),
    ]


def _foresight(lineage: Mapping[str, Any]) -> list[str]:
    """What was predicted of the training before it ran, beside what came; nothing for a model from elsewhere."""
    said, came = lineage.get("predicted"), lineage.get("measured")
    if not said or not came:
        return []
    return [
        "## Predicted and measured",
        "| of the training | predicted | measured | the prediction is by |",
        "| --- | --- | --- | --- |",
        *(
            f"| {label} | {_figure(said[key], shown)} | {_figure(came[key], shown)} | {said[source]} |"
            for key, label, source, shown in (
                ("bits_per_byte", "bits per byte on validation documents", "bits_per_byte_source", "{:.3f}"),
                ("seconds", "seconds of steps", "seconds_source", "{:,.0f}"),
                ("memory_bytes", "bytes of memory at the peak", "memory_source", "{:,.0f}"),
            )
        ),
        "",
    ]


def _figure(value: float | None, shown: str) -> str:
    return "not known" if value is None else shown.format(value)


def _data(lineage: Mapping[str, Any]) -> list[str]:
    """How the data was judged that it learnt from: what held, what was waived and by whom, what was left out and what stayed."""
    judged = lineage.get("validation")
    if not judged:
        return []
    warned, waived = judged["warned"], judged["waived"]
    return [
        "## Data",
        f"- {judged['held']} of {judged['judged']} expectations hold{'' if judged['passed'] else '; **refused**'}",
        *(f"- **waived**: {_missed(each)}; {one_line(each['who'])}, until {each['expires']}: {_said(each)}" for each in waived),
        *(f"- warning: {_missed(each)}" for each in warned[:_NAMED]),
        *([f"- and {len(warned) - _NAMED} warnings more"] if len(warned) > _NAMED else []),
        *_most("rejected rows", lineage.get("rejected", {})),
        *_most("found and kept", lineage.get("found", {})),
        "",
    ]


def _missed(each: Mapping[str, Any]) -> str:
    observed = each["observed"]
    return f"{each['words']}{'' if observed is None else f' {observed:,.4g}'}, wanted {each['asked']}"


def _said(waiver: Mapping[str, Any]) -> str:
    return one_line(waiver["reason"])[:300]


def _most(words: str, counts: Mapping[str, int]) -> list[str]:
    """Counts by name, the largest first."""
    if not counts:
        return []
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{name} {count:,}" for name, count in ordered[:_NAMED])
    more = f" and {len(ordered) - _NAMED} kinds more" if len(ordered) > _NAMED else ""
    return [f"- {words}: {sum(counts.values()):,} ({named}{more})"]


def _continuations(evidence: Mapping[str, Any]) -> list[str]:
    return [
        "## How it goes on",
        *(f"- **{sample['prompt']}**{one_line(sample['text'])[:200]}" for sample in evidence["samples"]),
    ]


def _accuracy(evidence: Mapping[str, Any]) -> list[str]:
    accuracy, f1 = evidence["accuracy"], evidence["macro_f1"]
    model = accuracy["model"]
    return [
        f"**{model['value']:.3f} accuracy** on {model['n']} held-out texts{_interval(model)}.",
        "",
        "| on the same texts | accuracy | macro F1 |",
        "| --- | --- | --- |",
        *(
            f"| {label} | {accuracy[key]['value']:.3f} | {f1[key]['value']:.3f} |"
            for key, label in _ROWS.items()
            if key in accuracy
        ),
        "",
        "| label | texts | precision | recall | F1 |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {each['label']} | {each['rows']} | {each['precision']:.2f} | {each['recall']:.2f} | {each['f1']:.2f} |"
            for each in evidence["classes"][:_CLASSES]
        ),
    ]


def _mistakes(evidence: Mapping[str, Any]) -> list[str]:
    return [
        "## Where it is surest and wrong",
        *(
            f"- {each['label']}, taken for {each['taken_for']} ({each['probability']:.2f}): {one_line(each['text'])[:160]}"
            for each in evidence["mistakes"]
        ),
    ]


def _answers(evidence: Mapping[str, Any]) -> list[str]:
    measured, choice, ending = evidence["bits_per_byte"], evidence["choice"], evidence["ends_by_itself"]
    model = measured["model"]
    return [
        f"**{model['value']:.3f} bits per byte of answers** to {model['n']} held-out questions{_interval(model)}.",
        "",
        "| on the same answers | bits per byte | likelier after their own question than after another |",
        "| --- | --- | --- |",
        *(
            f"| {label} | {measured[key]['value']:.3f} | {_share(choice[key]['answer']) if key in choice else ''} |"
            for key, label in {**_ROWS, "base": "the model it was finetuned from"}.items()
            if key in measured
        ),
        "",
        f"- after its question, its own answer is likelier than another one, byte for byte: {_share(choice['model']['question'])}",
        f"- answers that end by themselves, with {ending['min_words']} words or more: {_share(ending)} of {ending['n']}",
    ]


def _answered(evidence: Mapping[str, Any]) -> list[str]:
    return [
        "## What it answers",
        *(f"- **{one_line(sample['prompt'])}** {one_line(sample['text'])[:200]}" for sample in evidence["samples"]),
    ]


def _share(measured: Mapping[str, Any]) -> str:
    return f"{measured['value']:.0%}"


_CLASSES = 30  # labels shown; evidence.json has them all
_KINDS: dict[str, tuple[_Part, _Part]] = {
    "base": (_bits_per_byte, _continuations),
    "classifier": (_accuracy, _mistakes),
    "assistant": (_answers, _answered),
}
"""What is shown of each kind of evidence: the numbers above the gates, and what people read at the end."""


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
