"""What the works of every finetuning share: the training, the package with its origins, the result."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from torch import nn

from flows.pipeline.stage import Job, Outcome
from flows.work.package import as_judged, publish_package
from flows.work.training import begun, last_checkpoint, publish_metrics, run_training, training_result
from infra.store.fingerprint import identity
from infra.store.manifest import Thing
from llm.events import Measure, Noted
from llm.models.lora import merge_adapters
from llm.training.checkpoints import restore_model
from llm.training.config import FinetuneConfig
from llm.training.finetune import FinetuneJob, TaskName, finetune

M = TypeVar("M", bound=nn.Module)
_FROM_EXAMPLES = ("sources", "licence", "interpreter")


def finetuned(
    job: Job,
    config: FinetuneConfig,
    task: TaskName,
    rows: int,
    *,
    of: str,
    measure: Measure,
    learner: Callable[[], M],
    write: Callable[[Path, M], None],
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> Outcome:
    """Trains on `rows` examples, `of` which kind in words, and leaves a package and the curve of its run.

    learner: makes the model as it learns, for the last checkpoint to be read into. write: puts it, its adapters merged, into a
    folder. facts: what else belongs into the result.
    """
    base, examples = job.inputs["base"], job.inputs["examples"]
    steps = config.total_steps(rows)
    start, numerics = begun(job, config, f"finetune-{task}")
    job.observe(Noted(f"{rows:,} {of}, {steps:,} steps of {config.batch_size}; {numerics.reason}"))
    plan = FinetuneJob(
        store_url=job.store.url,
        base=base.prefix,
        examples=examples.prefix,
        run=job.run,
        earlier_runs=job.earlier_runs,
        scratch=job.scratch,
        task=task,
        training=config,
        steps=steps,
        numerics=numerics,
    )
    history, watch = run_training(job, finetune, plan, config.workers)
    job.still_ours()
    metrics = publish_metrics(job, history, watch, measure)
    checkpoint, folder, model = last_checkpoint(job), job.scratch / "package", learner()
    restore_model(checkpoint, model)
    write(folder, merge_adapters(model))
    lineage = {
        "settings": identity(config),
        "numerics": numerics.document(),
        "steps": steps,
        "base": base.version,
        "base_run": base.prefix,
        "examples": examples.version,
        "checkpoint": checkpoint.prefix,
        **watch.document(history),
        **{name: examples.facts[name] for name in _FROM_EXAMPLES},
        **({"adapters": f"rank {config.lora.rank}, alpha {config.lora.alpha:g}"} if config.lora.rank else {}),
        **as_judged(examples),
        **_licence_of(base),
    }
    package = publish_package(job, folder, lineage)
    shutil.rmtree(folder, ignore_errors=True)
    result = training_result(history, watch, measure, start, package, metrics, steps) | dict(facts)
    return Outcome({"package": package}, result, numerics.document())


def _licence_of(base: Thing) -> dict[str, Any]:
    """What a base from outside was given under holds for what is made of it."""
    told = json.loads(base.path("lineage.json").read_text()).get("model_licence")
    return {"model_licence": told} if told else {}
