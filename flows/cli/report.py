"""What a person, or a program, is told at the end of a flow: a line a stage, and where to look next."""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from flows.cli.output import duration, size, table
from flows.pipeline.session import Walked
from flows.work.card import one_line


def flow_document(flow: str, walked: Sequence[Walked]) -> dict[str, Any]:
    """The `--json` document of a finished flow; with a pretrained model in it, that model's run and metrics on top."""
    records = {each.stage.name: each.record for each in walked if each.record}
    document: dict[str, Any] = {"flow": flow}
    if trained := records.get("pretrain"):
        document |= {
            "run_id": trained.run,
            "model": records["register"].result["model"] if "register" in records else trained.result["package_uri"],
            "metrics": {name: trained.result[name] for name in ("val_loss", "val_bits_per_byte", "tokens_per_second", "tokens")},
            "metrics_file": trained.result["metrics_file"],
            "resumed_from": trained.result["resumed_from"],
            "attempts": trained.attempt,
        }
    elif "register" in records:
        document["model"] = records["register"].result["model"]
    stages = [
        {
            "stage": each.stage.name,
            "state": each.state,
            "why": list(each.why),
            "run_id": each.record.run,
            "key": each.record.key,
            "seconds": each.record.seconds,
            "result": each.record.result,
        }
        for each in walked
        if each.record
    ]
    return {**document, "stages": stages}


def plan_document(walked: Sequence[Walked]) -> dict[str, Any]:
    return {"stages": [{"stage": each.stage.name, "state": each.state, "why": list(each.why)} for each in walked]}


def plan_text(walked: Sequence[Walked]) -> str:
    """A stage and its fate on one line, further reasons below."""
    lines: list[str] = []
    for each in walked:
        first, *more = each.why or ("",)
        lines.append(f"{each.stage.name:<14} {each.state:<10} {first}")
        lines += [f"{'':<26}{reason}" for reason in more]
    return "\n".join(lines)


def summary(walked: Sequence[Walked]) -> str:
    """Stage, time, result, reused or not."""
    rows = [
        (
            each.stage.name,
            "reused" if each.state == "reused" else duration(each.record.seconds),
            _RESULTS[each.stage.name](each.record.result),
        )
        for each in walked
        if each.record
    ]
    notes = [f"{each.stage.name}: reused, {'; '.join(each.why)}" for each in walked if each.state == "reused"]
    return "\n".join(["", table(("stage", "time", "result"), rows), *(["", *notes] if notes else [])])


def look_next(walked: Sequence[Walked]) -> str:
    """The continuations, the picture, and the commands that go on from here."""
    results = {each.stage.name: each.result for each in walked}
    lines = ["", "How the model goes on (a few million parameters, minutes of training: grammar, not knowledge):"]
    for sample in results["evaluate"]["samples"]:
        lines += wrap(f"{sample['prompt']}|{one_line(sample['text'])}", 100, initial_indent="  ", subsequent_indent="    ")
    slipway, picture = _command(), results["evaluate"]["loss_curve"]
    places = {
        **({"the loss curve": _near(picture)} if picture else {}),
        "the model's card": f"{slipway} models show {results['register']['model']}",
        "what would run again, and why": f"{slipway} run lifecycle --plan",
        "the same on your own text": f"{slipway} demo --data PATH",
        "Prefect's and MLflow's pages": f"{slipway} up",
    }
    return "\n".join([*lines, "", "Where to look next:", *(f"  {what:<31}{where}" for what, where in places.items())])


def _command() -> str:
    """As it can be called from here: by its name where that finds this very installation, else by its path."""
    ours = Path(sys.executable).with_name("slipway")
    found = shutil.which("slipway")
    return "slipway" if found and ours.exists() and ours.samefile(found) else _near(str(ours))


def _near(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def _validated(result: Mapping[str, Any]) -> str:
    return f"{result['documents']:,} documents, {size(result['bytes'])}; {result['expectations']} expectations met"


def _prepared(result: Mapping[str, Any]) -> str:
    return f"{result['tokens']:,} tokens of {result['bytes_per_token']:.2f} bytes, vocabulary {result['vocabulary']:,}"


def _pretrained(result: Mapping[str, Any]) -> str:
    resumed = f", resumed from step {result['resumed_from']}" if result["resumed_from"] else ""
    return f"{result['val_bits_per_byte']:.3f} bits per byte on validation, {result['tokens_per_second']:,.0f} tokens/s{resumed}"


def _evaluated(result: Mapping[str, Any]) -> str:
    model = result["bits_per_byte"]
    interval = f" [{model['low']:.3f}, {model['high']:.3f}]" if model["low"] is not None else ""
    rivals = f"order-3 n-gram {result['ngram_bits_per_byte']:.3f}, xz {result['xz_bits_per_byte']:.3f}"
    return f"{model['value']:.3f} bits per byte{interval}; {rivals}"


def _registered(result: Mapping[str, Any]) -> str:
    failed = [gate["name"] for gate in result["gates"] if not gate["passed"]]
    return f"{result['model']}" + (f"; gates failed: {', '.join(failed)}" if failed else "")


def _imported(result: Mapping[str, Any]) -> str:
    return f"{result['parameters']:,} parameters"


_RESULTS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "validate-data": _validated,
    "import-base": _imported,
    "prepare-data": _prepared,
    "pretrain": _pretrained,
    "evaluate": _evaluated,
    "register": _registered,
}
