"""The work of `pretrain`: train, here or on Ray, and leave a model package."""

import shutil
from collections.abc import Mapping
from typing import Any

from flows.pipeline.stage import Job, Outcome
from flows.prediction import predicted
from flows.recipes.sections import PretrainConfig
from flows.work.package import as_judged, publish_package, write_package
from flows.work.training import begun, last_checkpoint, measured, publish_metrics, run_training, training_result
from infra.store.fingerprint import identity
from infra.store.manifest import Thing
from llm.events import Noted
from llm.models.build import new_model
from llm.models.config import CausalConfig
from llm.text.files import TOKENIZER_FILES
from llm.text.tokenizer import Tokenizer
from llm.training.checkpoints import restore_model
from llm.training.pretrain import PretrainJob, pretrain


def work(job: Job, config: PretrainConfig) -> Outcome:
    tokens, training = job.inputs["tokens"], config.training
    model = config.model.shape(vocabulary=tokens.facts["vocabulary"], context_length=training.sequence_length)
    steps = training.total_steps(parameters=model.parameters(), training_tokens=tokens.facts["splits"]["train"]["tokens"])
    flops = model.flops_per_token(training.sequence_length) * training.tokens_per_step * steps
    start, numerics = begun(job, training, "pretrain", flops=flops)
    job.observe(
        Noted(f"{model.parameters():,} parameters, {steps:,} steps of {training.tokens_per_step:,} tokens; {numerics.reason}")
    )
    expected = predicted(
        job.store,
        config.model.name,
        model,
        training,
        training_tokens=tokens.facts["splits"]["train"]["tokens"],
        dataset=tokens.version,
        precision=numerics.precision,
    )
    plan = PretrainJob(
        store_url=job.store.url,
        tokens=tokens.prefix,
        run=job.run,
        earlier_runs=job.earlier_runs,
        scratch=job.scratch,
        model=model,
        training=training,
        steps=steps,
        numerics=numerics,
        prompt="The",
    )
    history, watch = run_training(job, pretrain, plan, training.workers)
    job.still_ours()
    metrics = publish_metrics(job, history, watch, "bits_per_byte")
    foresight = {"predicted": expected, "measured": measured(history, numerics, training.workers)}
    package = _publish_package(
        job,
        model,
        tokens,
        {"settings": identity(config), "numerics": numerics.document(), "steps": steps, **foresight, **watch.document(history)},
    )
    result = training_result(history, watch, "bits_per_byte", start, package, metrics, steps)
    result |= {"parameters": model.parameters(), "body_parameters": model.body_parameters(), "preset": config.model.name}
    result |= foresight
    return Outcome({"package": package}, result, numerics.document())


def _publish_package(job: Job, model: CausalConfig, tokens: Thing, lineage: Mapping[str, Any]) -> Thing:
    checkpoint, trained = last_checkpoint(job), new_model(model)
    restore_model(checkpoint, trained)
    folder = job.scratch / "package"
    write_package(folder, trained, Tokenizer.load(tokens.folder(*TOKENIZER_FILES)))
    facts = {name: tokens.facts[name] for name in ("corpus", "sources", "licence", "interpreter") if name in tokens.facts}
    facts |= as_judged(tokens)
    package = publish_package(job, folder, {**lineage, "tokens": tokens.version, "checkpoint": checkpoint.prefix, **facts})
    shutil.rmtree(folder, ignore_errors=True)
    return package
