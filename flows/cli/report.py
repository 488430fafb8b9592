"""What a person, or a program, is told at the end of a flow: a line a stage, and where to look next."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flows.cli.output import duration, size, table
from flows.pipeline.session import Walked, verdict
from infra.store import local_file
from infra.store.errors import StoreError

_METRICS = ("val_loss", "val_bits_per_byte", "val_accuracy", "tokens_per_second", "tokens")


def flow_document(flow: str, walked: Sequence[Walked]) -> dict[str, Any]:
    """The `--json` document of a finished flow; with a trained model in it, that model's run and metrics on top.

    Of several, it is the one that the flow is named after, else the pretrained one. `models` are all that were registered.
    A flow that ends as awaiting review, or refused, has an `error` beside its stages, as every command that does not exit with 0.
    """
    records = {each.stage.name: each.record for each in walked if each.record}
    registered = [each.record.result for each in walked if each.record and each.stage.name == "register"]
    document: dict[str, Any] = {"flow": flow}
    if trained := records.get(flow) if flow.startswith("finetune-") else records.get("pretrain"):
        package = trained.result["package_uri"]
        document |= {
            "run_id": trained.run,
            "model": next((each["model"] for each in registered if each["source"] == package), package),
            "metrics": {name: trained.result[name] for name in _METRICS if name in trained.result},
            "metrics_file": _readable(trained.result["metrics_file"]),
            "resumed_from": trained.result["resumed_from"],
            "attempts": trained.attempt,
        }
    elif registered:
        document["model"] = registered[0]["model"]
    if registered:
        document["models"] = [each["model"] for each in registered]
    stages = [
        {
            "stage": each.stage.name,
            "state": each.state,
            "why": list(each.why),
            "run_id": each.record.run if each.record else None,
            "key": each.stage.key(),
            "seconds": each.record.seconds if each.record else None,
            "result": each.result,
        }
        for each in walked
    ]
    error = verdict(walked)
    return {**document, "stages": stages, **(error.document() if error else {})}


def _readable(place: str) -> str:
    """A path to read, also of what lies in a bucket; a file that cannot be had just now is no reason to fail at the end."""
    try:
        return str(local_file(place))
    except StoreError:
        return place


def plan_document(walked: Sequence[Walked]) -> dict[str, Any]:
    return {"stages": [{"stage": each.stage.name, "state": each.state, "why": list(each.why)} for each in walked]}


def plan_text(walked: Sequence[Walked]) -> str:
    """A stage and its fate on one line, further reasons below."""
    lines: list[str] = []
    width = max([10, *(len(each.state) for each in walked)])
    for each in walked:
        first, *more = each.why or ("",)
        lines.append(f"{each.stage.name:<22} {each.state:<{width}} {first}")
        lines += [f"{'':<{width + 24}}{reason}" for reason in more]
    return "\n".join(lines)


def summary(walked: Sequence[Walked]) -> str:
    """Stage, time, result, reused or not."""
    rows = [
        (
            each.stage.name,
            duration(each.record.seconds) if each.state == "done" and each.record else each.state,
            _RESULTS[each.stage.name](each.record.result) if each.record else "; ".join(each.why),
        )
        for each in walked
    ]
    notes = [f"{each.stage.name}: reused, {'; '.join(each.why)}" for each in walked if each.state == "reused"]
    return "\n".join(["", table(("stage", "time", "result"), rows), *(["", *notes] if notes else [])])


def _validated(result: Mapping[str, Any]) -> str:
    return f"{result['documents']:,} documents, {size(result['bytes'])}; {result['expectations']} expectations met"


def _prepared(result: Mapping[str, Any]) -> str:
    return f"{result['tokens']:,} tokens of {result['bytes_per_token']:.2f} bytes, vocabulary {result['vocabulary']:,}"


def _pretrained(result: Mapping[str, Any]) -> str:
    resumed = f", resumed from step {result['resumed_from']}" if result["resumed_from"] else ""
    return f"{result['val_bits_per_byte']:.3f} bits per byte on validation, {result['tokens_per_second']:,.0f} tokens/s{resumed}"


def _classified(result: Mapping[str, Any]) -> str:
    resumed = f", resumed from step {result['resumed_from']}" if result["resumed_from"] else ""
    return f"{result['val_accuracy']:.3f} accuracy on validation, {result['tokens_per_second']:,.0f} tokens/s{resumed}"


def _labelled(result: Mapping[str, Any]) -> str:
    left_out = result["duplicates"] + result["conflicts"]
    return f"{result['rows']:,} texts of {result['labels']} labels, {result['test_rows']:,} to test on; {left_out:,} left out"


def _judged(result: Mapping[str, Any]) -> str:
    model = result["accuracy"]
    interval = f" [{model['low']:.3f}, {model['high']:.3f}]" if model["low"] is not None else ""
    rivals = (
        f"TF-IDF with logistic regression {result['tfidf_accuracy']:.3f}, the most frequent label {result['majority_accuracy']:.3f}"
    )
    return f"{model['value']:.3f} accuracy{interval}; {rivals}"


def _asked(result: Mapping[str, Any]) -> str:
    left_out = result["invalid"] + result["duplicates"] + result["seen"]
    return f"{result['rows']:,} questions with answers, {result['test_rows']:,} to test on; {left_out:,} left out"


def _instructed(result: Mapping[str, Any]) -> str:
    resumed = f", resumed from step {result['resumed_from']}" if result["resumed_from"] else ""
    long = f"; {result['left_out']:,} too long" if result["left_out"] else ""
    speed = f"{result['tokens_per_second']:,.0f} tokens/s"
    return f"{result['val_bits_per_byte']:.3f} bits per byte of answers on validation, {speed}{resumed}{long}"


def _answered(result: Mapping[str, Any]) -> str:
    measured, choice, ending = result["bits_per_byte"], result["choice"], result["ends_by_itself"]
    bits = f"{measured['base']['value']:.3f} -> {measured['model']['value']:.3f} bits per byte of answers"
    return f"{bits}; {choice['answer']['value']:.0%} after their own question likelier; {ending['value']:.0%} end by themselves"


def _evaluated(result: Mapping[str, Any]) -> str:
    model = result["bits_per_byte"]
    interval = f" [{model['low']:.3f}, {model['high']:.3f}]" if model["low"] is not None else ""
    rivals = f"order-3 n-gram {result['ngram_bits_per_byte']:.3f}, xz {result['xz_bits_per_byte']:.3f}"
    return f"{model['value']:.3f} bits per byte{interval}; {rivals}"


def _registered(result: Mapping[str, Any]) -> str:
    failed = [gate["name"] for gate in result.get("gates", ()) if not gate["passed"]]
    return f"{result['model']}" + (f"; gates failed: {', '.join(failed)}" if failed else "")


def _imported(result: Mapping[str, Any]) -> str:
    return f"{result['parameters']:,} parameters"


def _released(result: Mapping[str, Any]) -> str:
    return f"{result['model']} is the champion, by {result['who']}"


def _reviewed(result: Mapping[str, Any]) -> str:
    return f"{result['model']} is {result['review_status']}, by {result['who']}"


def _deployed(result: Mapping[str, Any]) -> str:
    return f"{result['model']} answers on {result['url']}"


_RESULTS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "validate-data": _validated,
    "import-base": _imported,
    "register-import": _registered,
    "prepare-data": _prepared,
    "pretrain": _pretrained,
    "prepare-classification": _labelled,
    "finetune-classify": _classified,
    "evaluate-classifier": _judged,
    "prepare-instructions": _asked,
    "finetune-instruct": _instructed,
    "evaluate-assistant": _answered,
    "evaluate": _evaluated,
    "register": _registered,
    "release": _released,
    "review": _reviewed,
    "deploy": _deployed,
    "rollback": _deployed,
}
