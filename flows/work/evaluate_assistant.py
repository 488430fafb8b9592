"""The work of `evaluate-assistant`: likelihood of held-out answers, beside the base model and the champion; answers; gates."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from flows.pipeline.stage import Job, Outcome
from flows.recipes.sections import InstructEvaluation
from flows.work.evaluate import hardware
from flows.work.gates import champion_gate, ends_gate, learnt_gate
from infra.store.errors import InputError
from infra.store.manifest import Thing, publish
from llm.data.instructions import Instruction, read_instructions
from llm.evaluation.bits_per_byte import Scores, bits_per_byte, paired_difference
from llm.evaluation.golden import golden_chats
from llm.evaluation.instruction import Answer, Choice, answer, choose, ends_by_itself, evenly, score_answers
from llm.evaluation.intervals import Interval
from llm.events import Noted, Progress
from llm.models.assistant import Assistant, from_base, load_assistant
from llm.training.numerics import fastest_device

_SHOWN = 6


def work(job: Job, config: InstructEvaluation) -> Outcome:
    package = job.inputs["package"]
    assistants = _load(job)
    chats, left_out = _held_out(job, config, assistants)
    scores, choices = dict[str, Scores](), dict[str, Choice]()
    for name, assistant in assistants.items():
        job.observe(Noted(f"scoring {len(chats):,} held-out answers: {_NAMES[name]}"))
        scores[name] = score_answers(assistant, chats)
        choices[name] = choose(assistant, chats, scores[name])
    answers = answer(
        assistants["model"],
        evenly(chats, config.answers),
        max_tokens=config.max_tokens,
        progress=lambda done, total: job.observe(Progress("answering", done, total, "questions")),
    )
    words = min(config.min_words, int(np.median([len(chat.answer.split()) for chat in chats])))
    measured = Measured(scores, choices, answers, ends_by_itself(answers, min_words=words), words, left_out)
    gates = [asdict(gate) for gate in _gates(config, measured)]
    ours = assistants["model"]
    questions = [chat.question for chat in chats[: config.golden]]
    golden = golden_chats(ours.model, ours.chats.tokenizer, ours.chats, questions)
    folder = job.scratch / "evidence"
    folder.mkdir()
    evidence = _evidence(job, config, measured, gates, golden)
    (folder / "evidence.json").write_text(json.dumps(evidence, indent=2, ensure_ascii=False) + "\n")
    job.still_ours()
    published = publish(job.store, f"runs/{job.run}/artifacts/evidence", folder, {"kind": "evidence", "package": package.version})
    result = {
        "bits_per_byte": evidence["bits_per_byte"],
        "choice": evidence["choice"]["model"],
        "ends_by_itself": evidence["ends_by_itself"],
        "gates": gates,
        "samples": evidence["samples"],
    }
    return Outcome({"evidence": published}, result)


@dataclass(frozen=True, eq=False)
class Measured:
    """Scores and choices of each model on the same chats, and the assistant's own answers."""

    scores: Mapping[str, Scores]
    choices: Mapping[str, Choice]
    answers: Sequence[Answer]
    ending: Interval
    words: int
    left_out: int

    @property
    def gained(self) -> Interval:
        """Bits per byte, the assistant's less its base model's."""
        return paired_difference(self.scores["model"], self.scores["base"])


_NAMES = {"model": "the assistant", "base": "the model it was finetuned from", "champion": "the champion"}


def _load(job: Job) -> dict[str, Assistant]:
    loaded = {"model": load_assistant(job.inputs["package"].folder()), "base": from_base(job.inputs["base"].folder())}
    if "champion" in job.inputs:
        loaded["champion"] = load_assistant(job.inputs["champion"].folder())
    return {name: Assistant(each.model.to(fastest_device()), each.chats) for name, each in loaded.items()}


def _held_out(job: Job, config: InstructEvaluation, assistants: Mapping[str, Assistant]) -> tuple[list[Instruction], int]:
    """The chats that every model reads whole: all are judged by the same ones. And how many of the split do not fit."""
    examples: Thing = job.inputs["examples"]
    given = read_instructions(examples, "test")
    fit = [
        chat
        for chat in given
        if all(len(each.chats.render(chat.messages)) <= each.model.config.context_length for each in assistants.values())
    ]
    if len(fit) < len(given):
        job.observe(
            Noted(f"{len(given) - len(fit):,} of {len(given):,} held-out chats are longer than a model reads at once: left out")
        )
    if len(fit) < 2:
        raise InputError(
            f"{len(fit)} held-out chats fit what the models read at once, two are needed",
            where="evaluate-assistant",
            mend="Hold back more with --set instruct.data.test_share, or shorten the chats.",
        )
    return evenly(fit, config.max_rows), len(given) - len(fit)


def _gates(config: InstructEvaluation, measured: Measured) -> list[Any]:
    gates = [learnt_gate(measured.gained), ends_gate(measured.ending, config.min_ending_share, measured.words)]
    if "champion" in measured.scores:
        difference = paired_difference(measured.scores["model"], measured.scores["champion"])
        gates.append(champion_gate(difference, config.max_regression))
    return gates


def _evidence(
    job: Job, config: InstructEvaluation, measured: Measured, gates: list[dict[str, Any]], golden: list[dict[str, Any]]
) -> dict[str, Any]:
    bits = {name: bits_per_byte(scores).document() for name, scores in measured.scores.items()}
    prompts = [hashlib.sha256(each.question.encode()).hexdigest() for each in measured.answers]
    samples = [{"prompt": each.question, "text": each.text, "ended": each.stopped} for each in measured.answers[:_SHOWN]]
    return {
        "format": 1,
        "kind": "assistant",
        "headline": {"name": "bits per byte of answers", "value": bits["model"]["value"]},
        "package": job.inputs["package"].version,
        "base": job.inputs["base"].version,
        "champion": job.inputs["champion"].version if "champion" in job.inputs else None,
        "dataset": {
            "version": job.inputs["examples"].version,
            "split": "test",
            "rows": len(measured.scores["model"].bytes),
            "left_out": measured.left_out,
        },
        "bits_per_byte": bits,
        "gained": measured.gained.document(),
        "choice": {
            name: {"answer": each.answer.document(), "question": each.question.document(), "unpaired": each.unpaired}
            for name, each in measured.choices.items()
        },
        "ends_by_itself": {**measured.ending.document(), "min_words": measured.words, "max_tokens": config.max_tokens},
        "gates": gates,
        "samples": samples,
        "prompts_sha256": prompts,
        "golden": golden,
        "hardware": hardware(),
    }
