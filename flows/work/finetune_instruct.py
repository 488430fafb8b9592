"""The work of `finetune-instruct`: train, here or on Ray, and leave an assistant's package."""

from pathlib import Path

from flows.pipeline.stage import Job, Outcome
from flows.work.finetuning import finetuned
from flows.work.package import write_assistant
from llm.events import Noted
from llm.models.assistant import Assistant
from llm.models.causal import CausalModel
from llm.training.config import FinetuneConfig
from llm.training.instruct import fitting, learner, longest, padding


def work(job: Job, config: FinetuneConfig) -> Outcome:
    assistant = learner(job.inputs["base"].folder(), config)
    length = longest(config, assistant.model.config.context_length)
    training = fitting(job.inputs["examples"], "train", assistant.chats, length)
    if training.left_out:
        job.observe(Noted(f"{training.left_out:,} chats are longer than {length} tokens: left out, not cut"))

    if config.pack:
        spared = padding([len(row) for row in training.rows], config, length)
        job.observe(Noted(f"several chats a row: {spared.packed:.0%} padding, where one a row has {spared.alone:.0%}"))

    def write(folder: Path, model: CausalModel) -> None:
        write_assistant(folder, Assistant(model, assistant.chats))

    rows, facts = len(training.rows), {"chats": len(training.rows), "left_out": training.left_out}
    return finetuned(
        job,
        config,
        "instruct",
        rows,
        of="chats",
        measure="bits_per_byte",
        learner=lambda: assistant.model,
        write=write,
        facts=facts,
    )
