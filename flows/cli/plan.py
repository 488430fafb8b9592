"""`slipway plan`: what a training costs, before it is run."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from flows import stages
from flows.cli.output import duration, emit, note, size
from flows.pipeline import records
from flows.recipes.loading import load_recipe
from flows.recipes.recipes import PretrainRecipe
from infra.settings import Settings
from infra.store import open_store
from infra.store.protocol import Store
from llm.models.presets import preset
from llm.training.plan import Cost, cost

_BYTES_PER_TOKEN = 3.5  # of English under a small byte-level vocabulary, where nothing was tokenized yet
_TRAIN_SHARE = 0.9


def plan(
    recipe: Annotated[str, typer.Argument(help="A preset, or a YAML file.")] = "tiny",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe; may be repeated.")
    ] = None,
    tokens_per_second: Annotated[
        float,
        typer.Option(min=0, help="Speed to plan with; by default that of the last run of this model here, else measured now."),
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """What a training costs: parameters, FLOPs, tokens, memory, time."""
    chosen = load_recipe(PretrainRecipe, recipe, settings or ())
    model = preset(chosen.model.preset, vocabulary=chosen.tokenizer.vocabulary, context_length=chosen.training.sequence_length)
    training_tokens = round(stages.text_bytes(chosen.data) * _TRAIN_SHARE / _BYTES_PER_TOKEN) if chosen.training.epochs else 0
    total = cost(model, chosen.training, training_tokens=training_tokens)
    rate, source = _rate(chosen, tokens_per_second, open_store(Settings.load().store))
    document = {
        "recipe": recipe,
        "preset": chosen.model.preset,
        **asdict(total),
        "memory_bytes": total.memory_bytes,
        "tokens_per_second": rate,
        "rate_source": source,
        "seconds": total.seconds(rate),
    }
    emit(document, as_json, lambda: _text(document, total))


def _rate(recipe: PretrainRecipe, given: float, store: Store) -> tuple[float, str]:
    if given:
        return given, "given"
    for record in records.of_stage(store, "pretrain"):
        if record.result["preset"] == recipe.model.preset:
            return float(record.result["tokens_per_second"]), f"measured in {record.run} on {record.host}"
    note("No run of this model here yet: measuring a few steps ...")
    from llm.training.rate import measure_rate  # torch, two seconds, only where nothing is known

    return measure_rate(
        preset(recipe.model.preset, vocabulary=recipe.tokenizer.vocabulary, context_length=recipe.training.sequence_length),
        recipe.training,
    ), "measured now"


def _text(document: dict[str, Any], total: Cost) -> str:
    per_parameter = f"{total.tokens_per_parameter:.2f} a parameter (about 20 is compute-optimal)"
    parts = {
        "weights": total.weight_bytes,
        "gradients": total.gradient_bytes,
        "optimizer": total.optimizer_bytes,
        "activations": total.activation_bytes,
        "logits": total.logit_bytes,
    }
    rows = [
        ("model", f"{document['preset']}, {total.parameters:,} parameters"),
        ("training", f"{total.steps:,} steps, {total.tokens:,} tokens, {per_parameter}"),
        ("compute", f"{total.flops:.2e} FLOPs, {total.flops_per_token / 1e6:.1f} MFLOPs a token"),
        ("memory", f"{size(total.memory_bytes)}: {', '.join(f'{name} {size(count)}' for name, count in parts.items())}"),
        ("time", f"{duration(document['seconds'])} at {document['tokens_per_second']:,.0f} tokens/s ({document['rate_source']})"),
    ]
    return "\n".join(f"{name:<10}{text}" for name, text in rows)
