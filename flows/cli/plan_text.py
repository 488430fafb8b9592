"""A plan for people."""

from collections.abc import Mapping
from typing import Any

from flows.cli.output import duration, size

_PARTS = {
    "weights": "weights",
    "copies": "their bf16 copies",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "activations": "activations",
    "logits": "logits",
    "temporary": "temporary",
}
_REPEATED = 4  # epochs up to which text read again is nearly as good as new text (Muennighoff et al., 2023)


def text(plan: Mapping[str, Any]) -> str:
    """The document of `slipway plan` in lines."""
    rows = [
        ("model", f"{plan['preset']}, {plan['parameters']:,} parameters"),
        *([("derived", _derived(plan["derived"]))] if plan["derived"] else []),
        ("training", f"{plan['steps']:,} steps, {plan['tokens']:,} tokens{_epochs(plan['epochs'])}"),
        ("tokens", f"{_ratio(plan['tokens_per_parameter'])} a parameter: {plan['meaning']}"),
        ("", f"known: {_known(plan)}"),
        ("compute", f"{plan['flops']:.2e} FLOPs, {plan['flops_per_token'] / 1e6:,.1f} MFLOPs a token"),
        *_memory(plan),
        *(_fits_not(plan) if not plan["fits"] else []),
        ("time", f"{duration(plan['seconds'])} at {plan['tokens_per_second']:,.0f} tokens/s ({plan['rate_source']})"),
        *(_money(plan) if "gpu" in plan else []),
        ("loss", f"about {plan['bits_per_byte']:.2f} bits per byte ({plan['bits_per_byte_source']})"),
    ]
    return "\n".join(f"{name:<10}{line}" for name, line in rows)


def _derived(found: Mapping[str, Any]) -> str:
    """What the depth made of it; where the recipe says something else, that too."""
    said = [f"width {found['width']}, {found['heads']} heads, hidden {found['hidden']}"]
    for key, name in (
        ("batch_size", "rows a step"),
        ("learning_rate", "learning rate"),
        ("tokens_per_parameter", "tokens a parameter"),
    ):
        value = found[key]
        instead = "" if value["taken"] == value["derived"] else f" (the recipe takes {value['taken']:g})"
        said.append(f"{name} {value['derived']:g}{instead}")
    return ", ".join(said)


def _known(plan: Mapping[str, Any]) -> str:
    return ", ".join(f"{run['model']} {_ratio(run['tokens_per_parameter'])}" for run in plan["known_runs"])


def _epochs(epochs: float | None) -> str:
    if epochs is None:
        return ""
    often = "" if epochs <= _REPEATED else f"; text read more than {_REPEATED} times teaches less each time"
    return f", {epochs:.1f} times through the text{often}"


def _memory(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    memory = plan["memory"]
    limit = size(plan["memory_limit_bytes"])
    if "gpu" in plan:
        where = f"of {size(plan['gpu_memory_bytes'])}, {limit} are usable on each {plan['gpu_title']}"
    else:
        where = f"this machine has {limit} for each process"
    named = ", ".join(f"{name} {size(memory[part])}" for part, name in _PARTS.items() if memory[part])
    how = f"{plan['precision']}, {plan['micro_batch_rows']} rows at a time"
    rows = [
        ("memory", f"{size(memory['peak'])} at its highest, {_AT[memory['when']]}; {where}"),
        ("", f"{named}: not all at once"),
        ("", f"{how}; whole logits, which training never makes, would take {size(plan['whole_logits_bytes'])}"),
    ]
    if plan["checkpoint_copy_bytes"]:
        rows.append(("", f"and {size(plan['checkpoint_copy_bytes'])} for the copy of a checkpoint while it is written"))
    if "measured_bytes" in plan:
        off = memory["peak"] / plan["measured_bytes"] - 1
        rows.append(("", f"a real step here took {size(plan['measured_bytes'])}: the estimate is {off:+.1%} off"))
    return rows


_AT = {
    "the loss": "at the loss",
    "the backward pass": "in the backward pass",
    "the end of the backward pass": "at the end of the backward pass",
    "adding up the workers' gradients": "when the workers add up their gradients",
    "the update": "at the update",
}


def _fits_not(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    over = size(plan["memory_bytes"] + plan["checkpoint_copy_bytes"] - plan["memory_limit_bytes"])
    if not plan["levers"]:
        return [("", f"It does not fit, by {over}, and no setting here makes it fit: take a smaller model.")]
    return [
        ("", f"It does not fit, by {over}. It would fit with"),
        *(("", f"- {lever['what']}: {size(lever['peak'])}") for lever in plan["levers"]),
    ]


def _money(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    what = f"{plan['gpu_hours']:,.1f} GPU-hours on {plan['gpus']} x {plan['gpu_title']}"
    return [("money", f"${plan['money']:,.2f}: {what} at ${plan['price']:.2f} an hour ({plan['price_source']})")]


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
