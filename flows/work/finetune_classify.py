"""The work of `finetune-classify`: train, here or on Ray, and leave a classifier's package."""

from pathlib import Path

from flows.pipeline.stage import Job, Outcome
from flows.work.finetuning import finetuned
from flows.work.package import write_package
from infra.store.manifest import Thing
from llm.models.classifier import Classifier
from llm.models.hub import load_model
from llm.text.tokenizer import Tokenizer
from llm.training.checkpoints import restore_model
from llm.training.config import FinetuneConfig


def work(job: Job, config: FinetuneConfig) -> Outcome:
    base, labels = job.inputs["base"], job.inputs["examples"].facts["labels"]

    def write(checkpoint: Thing, folder: Path) -> None:
        model = Classifier(load_model(base.folder()).float(), labels, config.max_length)
        restore_model(checkpoint, model)
        write_package(folder, model, Tokenizer.load(base.folder()))

    rows = sum(job.inputs["examples"].facts["splits"]["train"].values())
    return finetuned(job, config, "classify", rows, of=f"texts of {len(labels)} labels", measure="accuracy", write=write)
