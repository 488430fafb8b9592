"""The work of `finetune-classify`: train, here or on Ray, and leave a classifier's package."""

import shutil
from collections.abc import Mapping
from typing import Any

from flows.pipeline.stage import Job, Outcome
from flows.work.package import publish_package, write_package
from flows.work.training import begun, last_checkpoint, publish_metrics, run_training
from infra.store.fingerprint import identity
from infra.store.manifest import Thing
from llm.events import Noted
from llm.models.classifier import Classifier
from llm.models.hub import load_model
from llm.text.tokenizer import Tokenizer
from llm.training.checkpoints import restore_model
from llm.training.config import FinetuneConfig
from llm.training.finetune import FinetuneJob, finetune


def work(job: Job, config: FinetuneConfig) -> Outcome:
    base, examples = job.inputs["base"], job.inputs["examples"]
    rows = sum(examples.facts["splits"]["train"].values())
    steps = config.total_steps(rows)
    start, numerics = begun(job, config.precision, "finetune-classify")
    labels = len(examples.facts["labels"])
    job.observe(Noted(f"{rows:,} texts of {labels} labels, {steps:,} steps of {config.batch_size}; {numerics.reason}"))
    plan = FinetuneJob(
        store_url=job.store.url,
        base=base.prefix,
        examples=examples.prefix,
        run=job.run,
        earlier_runs=job.earlier_runs,
        scratch=job.scratch,
        task="classify",
        training=config,
        steps=steps,
        numerics=numerics,
    )
    history = run_training(job, finetune, plan, config.workers)
    job.still_ours()
    metrics = publish_metrics(job, history, "accuracy")
    package = _publish_package(job, config, {"settings": identity(config), "numerics": numerics.document(), "steps": steps})
    last = history.last_validation
    result = {
        "val_loss": last["validation_loss"],
        "val_accuracy": last["validation_accuracy"],
        "tokens_per_second": history.tokens_per_second(),
        "tokens": history.tokens(),
        "steps": steps,
        "package_uri": package.uri,
        "metrics_file": metrics,
        "resumed_from": start.facts["step"] if start else None,
    }
    return Outcome({"package": package}, result, numerics.document())


def _publish_package(job: Job, config: FinetuneConfig, lineage: Mapping[str, Any]) -> Thing:
    base, examples = job.inputs["base"], job.inputs["examples"]
    checkpoint = last_checkpoint(job)
    model = Classifier(load_model(base.folder()), examples.facts["labels"], config.max_length)
    restore_model(checkpoint, model)
    folder = job.scratch / "package"
    write_package(folder, model, Tokenizer.load(base.folder()))
    facts = {name: examples.facts[name] for name in ("sources", "licence", "interpreter")}
    origins = {"base": base.version, "base_run": base.prefix, "examples": examples.version, "checkpoint": checkpoint.prefix}
    package = publish_package(job, folder, {**lineage, **origins, **facts})
    shutil.rmtree(folder, ignore_errors=True)
    return package
