"""What a pretraining should end at and cost, said before it runs, so that the card can show it beside what it did."""

from collections.abc import Iterable
from typing import Any, Literal

from flows.pipeline import records
from flows.pipeline.records import Record
from infra.store.protocol import Store
from llm.models.config import CausalConfig
from llm.training.config import TrainingConfig
from llm.training.plan import cost
from llm.training.plan_memory import StepShape, memory
from llm.training.scaling import LADDER, Outcome
from llm.training.worker_counts import fewest

_CORRECTED_BY = 3  # earlier runs on the same text, the newest ones


def predicted(
    store: Store,
    name: str,
    model: CausalConfig,
    training: TrainingConfig,
    *,
    training_tokens: int,
    dataset: str = "",
    precision: Literal["fp32", "bf16", "fp8"] = "bf16",
) -> dict[str, Any]:
    """Bits per byte on the validation documents, seconds of training steps and bytes of memory; each with where it comes from.

    name: what runs of this model are called. dataset: content version of the token shards, where it is known. precision: of the
    matrix products, on which memory hangs. Seconds are None where no run of this model was made here before.
    """
    total = cost(model, training, training_tokens=training_tokens)
    earlier = records.of_stage(store, "pretrain")
    on_this_text = [record for record in earlier if dataset and record.identity["inputs"].get("tokens") == dataset]
    outcomes = list(_outcomes(on_this_text))[:_CORRECTED_BY]
    factor, parameters = LADDER.corrected(outcomes), model.body_parameters()
    source = "power law of size and tokens"
    if outcomes:
        source += f", corrected by {len(outcomes)} earlier run{'s' if len(outcomes) > 1 else ''} on this text"
    elif not LADDER.covers(parameters, total.tokens):
        source += ", far beyond what it was fitted on: a guess"
    else:
        source += ", from runs on English books"
    timed = next((record for record in earlier if record.result.get("preset") == name), None)
    return {
        "bits_per_byte": factor * LADDER.bits_per_byte(parameters, total.tokens),
        "bits_per_byte_source": source,
        "seconds": total.seconds(timed.result["tokens_per_second"]) if timed else None,
        "seconds_source": f"speed of {timed.run} on {timed.host}" if timed else "no run of this model here before",
        "memory_bytes": memory(model, StepShape.of(training, precision, max(1, fewest(training.workers)))).peak,
        "memory_source": "tensors of a step of one process",
    }


def _outcomes(runs: Iterable[Record]) -> Iterable[Outcome]:
    for record in runs:
        result = record.result
        if "body_parameters" in result:
            yield Outcome(result["body_parameters"], result["tokens"], result["val_bits_per_byte"])
