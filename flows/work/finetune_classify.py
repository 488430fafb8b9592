"""The work of `finetune-classify`: train, here or on Ray, and leave a classifier's package."""

from pathlib import Path

from flows.pipeline.stage import Job, Outcome
from flows.work.finetuning import finetuned
from flows.work.package import write_package
from llm.models.classifier import Classifier
from llm.text.tokenizer import Tokenizer
from llm.training.classify import learner
from llm.training.config import FinetuneConfig


def work(job: Job, config: FinetuneConfig) -> Outcome:
    base, labels = job.inputs["base"], job.inputs["examples"].facts["labels"]

    def make() -> Classifier:
        return learner(base.folder(), labels, config)

    def write(folder: Path, model: Classifier) -> None:
        write_package(folder, model, Tokenizer.load(base.folder()))

    rows, of = sum(job.inputs["examples"].facts["splits"]["train"].values()), f"texts of {len(labels)} labels"
    return finetuned(job, config, "classify", rows, of=of, measure="accuracy", learner=make, write=write)
