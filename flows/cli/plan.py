"""`slipway plan`: what a training costs, before it is run."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from flows import stages
from flows.cli.output import emit, note
from flows.cli.plan_text import text
from flows.pipeline import records
from flows.prediction import predicted
from flows.recipes.depth import derived
from flows.recipes.loading import load_recipe
from flows.recipes.recipes import PretrainRecipe
from infra.settings import Settings
from infra.store import open_store
from infra.store.errors import InputError
from infra.store.protocol import Store
from llm.models.config import CausalConfig
from llm.training.gpus import GPU, GPUS, PRICES_AS_OF, gpu
from llm.training.known_runs import KNOWN_RUNS, meaning
from llm.training.plan import Cost, cost, rent
from llm.training.plan_advice import levers
from llm.training.plan_memory import StepShape, memory, whole_logits_bytes
from llm.training.worker_counts import fewest, most

_BYTES_PER_TOKEN = 3.5  # of English under a small byte-level vocabulary, where nothing was tokenized yet
_TRAIN_SHARE = 0.9


def plan(
    recipe: Annotated[str, typer.Argument(help="A preset, or a YAML file.")] = "tiny",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe; may be repeated.")
    ] = None,
    gpu_name: Annotated[
        str, typer.Option("--gpu", metavar="KIND", help=f"Plan for GPUs, not for this machine: {', '.join(GPUS)}.")
    ] = "",
    gpus: Annotated[int, typer.Option(min=0, help="How many of them; by default the recipe's training.workers, or 1.")] = 0,
    mfu: Annotated[
        float, typer.Option(min=0, max=1, help="Share of their peak that the model's FLOPs take; by default a usual one.")
    ] = 0.0,
    price: Annotated[
        float | None, typer.Option(min=0, help=f"US dollars an hour of one GPU; by default a list price of {PRICES_AS_OF}.")
    ] = None,
    tokens_per_second: Annotated[
        float,
        typer.Option(min=0, help="Speed to plan with; by default that of the last run of this model here, else measured now."),
    ] = 0.0,
    measure: Annotated[
        bool, typer.Option("--measure", help="Take one real step here, and hold the memory against the plan.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """What a training costs: parameters, FLOPs, tokens, memory, time, money; and whether it fits."""
    chosen = load_recipe(PretrainRecipe, recipe, settings or ())
    _check_options(gpu_name, gpus=gpus, mfu=mfu, price=price, tokens_per_second=tokens_per_second, measure=measure)
    model = chosen.model.shape(vocabulary=chosen.tokenizer.vocabulary, context_length=chosen.training.sequence_length)
    training_tokens = round(stages.text_bytes(chosen.data) * _TRAIN_SHARE / _BYTES_PER_TOKEN) if chosen.training.epochs else 0
    total = cost(model, chosen.training, training_tokens=training_tokens)
    store = open_store(Settings.load().store)
    document = {
        "recipe": recipe,
        "preset": chosen.model.name,
        "derived": derived(chosen.pretrain, chosen.tokenizer.vocabulary),
        **asdict(total),
        **_beside(total, training_tokens),
        **_loss(predicted(store, chosen.model.name, model, chosen.training, training_tokens=training_tokens)),
    }
    if gpu_name:
        document |= _on_gpus(chosen, model, total, gpu(gpu_name), gpus, mfu, price, tokens_per_second)
    else:
        document |= _here(chosen, model, total, tokens_per_second, measure, store)
    emit(document, as_json, lambda: text(document))


def _check_options(name: str, *, gpus: int, mfu: float, price: float | None, tokens_per_second: float, measure: bool) -> None:
    lonely = [option for option, given in (("--gpus", gpus), ("--mfu", mfu), ("--price", price is not None)) if given]
    if lonely and not name:
        raise InputError(f"{lonely[0]} says nothing about this machine", where=lonely[0], mend="Name the kind too: --gpu h200.")
    if mfu and tokens_per_second:
        raise InputError("a speed is given twice", where="--mfu", mend="Leave out --mfu, or --tokens-per-second.")
    if measure and name:
        raise InputError("a step can be measured on this machine alone", where="--measure", mend="Leave out --gpu.")


def _beside(total: Cost, training_tokens: int) -> dict[str, Any]:
    return {
        "meaning": meaning(total.tokens_per_parameter),
        "known_runs": [{**asdict(run), "tokens_per_parameter": run.tokens_per_parameter} for run in KNOWN_RUNS],
        "epochs": total.tokens / training_tokens if training_tokens else None,
    }


def _loss(expected: Mapping[str, Any]) -> dict[str, Any]:
    return {key: expected[key] for key in ("bits_per_byte", "bits_per_byte_source")}


def _on_gpus(
    chosen: PretrainRecipe,
    model: CausalConfig,
    total: Cost,
    kind: GPU,
    gpus: int,
    mfu: float,
    price: float | None,
    tokens_per_second: float,
) -> dict[str, Any]:
    training, gpus = chosen.training, gpus or max(1, most(chosen.training.workers))
    rented = rent(total, training, kind, gpus, mfu=mfu, tokens_per_second=tokens_per_second, price=price, prices_as_of=PRICES_AS_OF)
    shape = StepShape.of(training, "fp8" if training.precision == "fp8" else "bf16", gpus)
    return {
        **_memory(model, shape, kind.usable, kind),
        **asdict(rented),
        "gpu_title": kind.title,
        "gpu_memory_bytes": kind.memory,
        "rate_source": "given" if tokens_per_second else f"{rented.mfu:.0%} MFU, {rented.mfu_source}",
    }


def _here(
    chosen: PretrainRecipe, model: CausalConfig, total: Cost, tokens_per_second: float, measure: bool, store: Store
) -> dict[str, Any]:
    rate, source, precision = _rate(chosen, model, tokens_per_second, store)
    shape = StepShape.of(chosen.training, precision, max(1, fewest(chosen.training.workers)))
    limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // max(1, most(chosen.training.workers))
    document = {
        **_memory(model, shape, limit, None, saves=0 < chosen.training.checkpoint_every < total.steps),
        "tokens_per_second": rate,
        "rate_source": source,
        "seconds": total.seconds(rate),
    }
    if measure:
        from llm.training.rate import measure_peak  # torch, two seconds, only where asked for

        document["measured_bytes"] = measure_peak(model, chosen.training)
    return document


def _memory(model: CausalConfig, shape: StepShape, limit: int, kind: GPU | None, *, saves: bool = False) -> dict[str, Any]:
    """saves: whether checkpoints are copied beside the training, into the memory that it computes in."""
    needed = memory(model, shape)
    copied = needed.before if saves else 0
    fits = needed.peak + copied <= limit
    return {
        "precision": shape.precision,
        "micro_batch_rows": shape.rows,
        "memory": asdict(needed),
        "memory_bytes": needed.peak,
        "memory_limit_bytes": limit,
        "checkpoint_copy_bytes": copied,
        "whole_logits_bytes": whole_logits_bytes(model, shape),
        "fits": fits,
        "levers": [] if fits else [asdict(lever) for lever in levers(model, shape, limit - copied, kind)],
    }


def _rate(recipe: PretrainRecipe, model: CausalConfig, given: float, store: Store) -> tuple[float, str, Any]:
    """Tokens a second, where they come from, and the precision that training takes here."""
    known = next((each for each in records.of_stage(store, "pretrain") if each.result["preset"] == recipe.model.name), None)
    asked = recipe.training.precision
    precision = known.numerics["precision"] if known is not None and asked == "auto" else asked
    if precision == "auto":
        from llm.training.numerics import Numerics  # torch, two seconds, only where nothing is known

        precision = Numerics.decide("auto").precision
    if given:
        return given, "given", precision
    if known is not None:
        return float(known.result["tokens_per_second"]), f"measured in {known.run} on {known.host}", precision
    note("No run of this model here yet: measuring a few steps ...")
    from llm.training.rate import measure_rate  # as above

    return measure_rate(model, recipe.training), "measured now", precision
