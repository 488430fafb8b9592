"""The work of `finetune-instruct`: train, here or on Ray, and leave an assistant's package."""

import shutil
from collections.abc import Mapping
from typing import Any

from flows.pipeline.stage import Job, Outcome
from flows.work.package import publish_package, write_assistant
from flows.work.training import begun, last_checkpoint, publish_metrics, run_training
from infra.store.fingerprint import identity
from infra.store.manifest import Thing
from llm.events import Noted
from llm.models.assistant import from_base
from llm.training.checkpoints import restore_model
from llm.training.config import FinetuneConfig
from llm.training.finetune import FinetuneJob, finetune
from llm.training.instruct import fitting, longest


def work(job: Job, config: FinetuneConfig) -> Outcome:
    base, examples = job.inputs["base"], job.inputs["examples"]
    untrained = from_base(base.folder())
    length = longest(config, untrained.model.config.context_length)
    training = fitting(examples, "train", untrained.chats, length)
    steps = config.total_steps(len(training.rows))
    start, numerics = begun(job, config.precision, "finetune-instruct")
    job.observe(Noted(f"{len(training.rows):,} chats, {steps:,} steps of {config.batch_size}; {numerics.reason}"))
    if training.left_out:
        job.observe(Noted(f"{training.left_out:,} chats are longer than {length} tokens: left out, not cut"))
    plan = FinetuneJob(
        store_url=job.store.url,
        base=base.prefix,
        examples=examples.prefix,
        run=job.run,
        earlier_runs=job.earlier_runs,
        scratch=job.scratch,
        task="instruct",
        training=config,
        steps=steps,
        numerics=numerics,
    )
    history = run_training(job, finetune, plan, config.workers)
    job.still_ours()
    metrics = publish_metrics(job, history, "bits_per_byte")
    package = _publish_package(job, {"settings": identity(config), "numerics": numerics.document(), "steps": steps})
    last = history.last_validation
    result = {
        "val_loss": last["validation_loss"],
        "val_bits_per_byte": last["validation_bits_per_byte"],
        "tokens_per_second": history.tokens_per_second(),
        "tokens": history.tokens(),
        "steps": steps,
        "chats": len(training.rows),
        "left_out": training.left_out,
        "package_uri": package.uri,
        "metrics_file": metrics,
        "resumed_from": start.facts["step"] if start else None,
    }
    return Outcome({"package": package}, result, numerics.document())


def _publish_package(job: Job, lineage: Mapping[str, Any]) -> Thing:
    base, examples = job.inputs["base"], job.inputs["examples"]
    checkpoint, assistant = last_checkpoint(job), from_base(base.folder())
    restore_model(checkpoint, assistant.model)
    folder = job.scratch / "package"
    write_assistant(folder, assistant)
    facts = {name: examples.facts[name] for name in ("sources", "licence", "interpreter")}
    origins = {"base": base.version, "base_run": base.prefix, "examples": examples.version, "checkpoint": checkpoint.prefix}
    package = publish_package(job, folder, {**lineage, **origins, **facts})
    shutil.rmtree(folder, ignore_errors=True)
    return package
