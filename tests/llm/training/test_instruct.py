"""Only answers are learnt, whole and with their end; and a run that was stopped anywhere ends as if it never had been."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from flows.work.package import write_assistant
from infra.store.errors import InputError
from infra.store.folder import FolderStore
from infra.store.manifest import load, publish
from llm.data.instructions import Instruction, ask, write_instructions
from llm.data.splitting import Split
from llm.events import Event, Resumed, Sampled, StepDone, Validated, ignore
from llm.models.assistant import from_base
from llm.models.build import new_model
from llm.models.causal import CausalModel
from llm.models.lora import merge_adapters
from llm.models.lora_config import LoraConfig
from llm.models.presets import preset
from llm.serving.sampling import generate
from llm.text.chat import Rendered
from llm.training.checkpoints import restore_model
from llm.training.config import FinetuneConfig
from llm.training.finetune import FinetuneJob, finetune
from llm.training.instruct import AnswerTokens, as_batch, as_packed_batch, fitting, learner, longest, padding, prepare
from llm.training.numerics import Numerics
from llm.training.optimizers import AdamW
from llm.training.resume import newest
from llm.training.step import train_step
from tests.llm.training.conftest import WORDS, write_base

MakeJob = Callable[..., FinetuneJob]
LORA = LoraConfig(rank=4, dropout=0.1)
ROWS = [Rendered((5, 6, 7, 8, 9), (0, 0, 1, 1, 0)), Rendered((4, 3, 2), (0, 0, 1))]


@pytest.fixture
def model() -> CausalModel:
    model = new_model(preset("llama-tiny", vocabulary=16, context_length=32))
    model.initialise(1)
    return model


def questions(n: int = 90) -> tuple[list[Instruction], list[Split]]:
    random = np.random.default_rng(2)
    rows = [ask(str(i), f"Say {WORDS[i % 6]}", f"The {WORDS[i % 6]} {WORDS[int(random.integers(6, 12))]}") for i in range(n)]
    return rows, [("test", "validation", "train", "train")[i // 6 % 4] for i in range(n)]


@pytest.fixture
def make_instruct_job(store: FolderStore, tmp_path: Path) -> MakeJob:
    """`make_instruct_job("finetune-a-1", steps=12)`: a job that learns short answers, on an untrained base."""
    base = write_base(store, tmp_path / "base")
    facts = write_instructions(*questions(), tmp_path / "questions")
    examples = publish(store, "datasets/questions/1", tmp_path / "questions", facts).prefix

    def make(run: str = "finetune-a-1", *, earlier_runs: tuple[str, ...] = (), **training: float) -> FinetuneJob:
        config = FinetuneConfig(steps=12, batch_size=4, validate_every=4, checkpoint_every=4, learning_rate=3e-3)
        config = replace(config, **training)  # type: ignore[arg-type]
        scratch = tmp_path / "scratch" / run
        scratch.mkdir(parents=True, exist_ok=True)
        return FinetuneJob(
            store_url=store.url,
            base=base,
            examples=examples,
            run=run,
            earlier_runs=earlier_runs,
            scratch=scratch,
            task="instruct",
            training=config,
            steps=config.steps,
            numerics=Numerics.decide("fp32"),
        )

    return make


def test_a_batch_holds_each_id_and_what_is_to_be_learnt_after_it() -> None:
    assert as_batch(ROWS).tolist() == [[[5, 6, 7, 8], [-100, 7, 8, -100]], [[4, 3, 0, 0], [-100, 2, -100, -100]]]
    assert AnswerTokens().count(as_batch(ROWS)) == 3


@pytest.mark.parametrize("name", ["llama-tiny", "gpt2-tiny"])
def test_chats_that_share_a_row_are_learnt_as_each_by_itself(name: str) -> None:
    model = new_model(preset(name, vocabulary=64, context_length=32)).eval()  # no dropout: it would fall elsewhere
    model.initialise(1)
    random = np.random.default_rng(0)
    rows = []
    for length in random.integers(3, 24, 20):
        mask = (np.arange(length) > length // 2).astype(int)
        rows.append(Rendered(tuple(random.integers(0, 64, length).tolist()), tuple(mask.tolist())))
    alone, packed = as_batch(rows), as_packed_batch(rows, 31)
    assert (packed.shape[0], alone.shape[0]) == (9, 20)
    assert AnswerTokens().count(packed) == AnswerTokens().count(alone)
    found = []
    for batch in (alone, packed):
        model.zero_grad()
        loss = AnswerTokens().loss(model, batch)
        loss.backward()
        found.append((loss.detach(), [parameter.grad for parameter in model.parameters() if parameter.grad is not None]))
        found[-1] = (found[-1][0], [gradient.clone() for gradient in found[-1][1]])
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_every_chat_stands_whole_in_one_row_and_apart_from_the_others() -> None:
    rows = [*ROWS, Rendered((11, 12, 13), (0, 1, 1))]
    batch = as_packed_batch(rows, 8)
    assert batch.tolist() == [[[5, 6, 7, 8, 4, 3, 11, 12], [-100, 7, 8, -100, -100, 2, 12, 13], [1, 1, 1, 1, 2, 2, 3, 3]]]
    assert as_packed_batch(rows, 5)[:, 2].tolist() == [[1, 1, 1, 1], [1, 1, 2, 2]]


def test_how_much_is_filled_up_is_told_with_packing_and_without() -> None:
    lengths = np.random.default_rng(0).integers(10, 200, 400).tolist()
    share = padding(lengths, FinetuneConfig(epochs=1.0, batch_size=16), 1024)
    assert 0.05 < share.alone < 0.2
    assert 0 <= share.packed < 0.02


def test_the_loss_is_that_of_the_answers_computed_by_hand(model: CausalModel) -> None:
    with torch.no_grad():
        first, second = (F.log_softmax(model(torch.tensor([row.ids]))[0], dim=-1) for row in ROWS)
        by_hand = -(first[1, 7] + first[2, 8] + second[1, 2])
        torch.testing.assert_close(AnswerTokens().loss(model, as_batch(ROWS)), by_hand)


def test_a_question_is_read_and_never_learnt(model: CausalModel) -> None:
    batch = as_batch(ROWS)

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        AnswerTokens().loss(model, batch).backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    together = gradients()
    model.zero_grad()
    logits = model(batch[:, 0])
    for row, place, target in ((0, 1, 7), (0, 2, 8), (1, 1, 2)):
        F.cross_entropy(logits[row, place], torch.tensor(target), reduction="sum").backward(retain_graph=True)
    by_hand = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    for ours, theirs in zip(together, by_hand, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_long_and_short_answers_weigh_by_their_tokens_however_they_are_cut_into_micro_batches(model: CausalModel) -> None:
    other = new_model(model.config)
    other.load_state_dict(model.state_dict())
    results = []
    for each, batches in ((model, [as_batch(ROWS)]), (other, [as_batch(ROWS[:1]), as_batch(ROWS[1:])])):
        optimizer = AdamW(each.named_parameters(), weight_decay=0.0)
        results.append(
            train_step(
                each, AnswerTokens(), batches, optimizer, learning_rate=1e-3, gradient_clip=0.0, numerics=Numerics.decide("fp32")
            )
        )
    torch.testing.assert_close(results[0].loss, results[1].loss)
    torch.testing.assert_close(results[0].gradient_norm, results[1].gradient_norm)


def test_an_assistant_learns_and_shows_what_it_says(store: FolderStore, make_instruct_job: MakeJob) -> None:
    events: list[Event] = []
    history = finetune(make_instruct_job(steps=60, validate_every=20), events.append)
    looks = [event for event in events if isinstance(event, Validated)]
    assert [(look.step, look.measure) for look in looks] == [(20, "bits_per_byte"), (40, "bits_per_byte"), (60, "bits_per_byte")]
    assert looks[-1].value < looks[0].value < 8
    assert history.rows[-1]["loss"] < 1.5 < 4 < history.rows[0]["loss"]
    sampled = [event for event in events if isinstance(event, Sampled)]
    assert sampled[-1].prompt == "Say the "
    assert sampled[-1].text.startswith("The ")


def test_bits_per_byte_are_those_of_the_text_and_the_loss_that_of_the_stop_token_too(
    store: FolderStore, make_instruct_job: MakeJob
) -> None:
    job = make_instruct_job()
    base, examples = load(store, job.base), load(store, job.examples)
    task, assistant = prepare(base, examples, job.training), from_base(base.folder())
    nats, bits = task.validate(task.looks, job.numerics)
    held_out = fitting(examples, "validation", assistant.chats, 32)
    total = text = count = 0.0
    with torch.no_grad():
        for row in held_out.rows:
            costs = F.cross_entropy(assistant.model(torch.tensor([row.ids[:-1]]))[0], torch.tensor(row.ids[1:]), reduction="none")
            mask = torch.tensor(row.mask[1:], dtype=torch.bool)
            total, count = total + float(costs[mask].sum()), count + int(mask.sum())
            text += float(costs[mask][:-1].sum())
    assert nats == pytest.approx(total / count, rel=1e-5)
    assert bits == pytest.approx(text / np.log(2) / sum(len(chat.answer) for chat in held_out.chats), rel=1e-5)


@pytest.mark.parametrize(
    ("stop", "training"),
    [(3, {}), (5, {}), (5, {"pack": True}), (11, {}), (12, {}), (5, {"lora": LORA}), (12, {"lora": LORA, "pack": True})],
)
def test_a_run_stopped_at_any_step_ends_as_if_undisturbed_bit_for_bit(
    store: FolderStore, make_instruct_job: MakeJob, stop: int, training: dict[str, Any]
) -> None:
    training = {"steps": 13, **training}  # an epoch has 10 steps and a half

    class Stopped(BaseException):
        """The process is gone."""

    def observe(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == stop:
            raise Stopped

    whole = finetune(make_instruct_job("finetune-whole-1", **training), ignore)
    with pytest.raises(Stopped):
        finetune(make_instruct_job("finetune-cut-1", **training), observe)
    events: list[Event] = []
    history = finetune(make_instruct_job("finetune-cut-2", earlier_runs=("finetune-cut-1",), **training), events.append)
    assert [event.step for event in events if isinstance(event, Resumed)] == ([] if stop <= 4 else [(stop - 1) // 4 * 4])
    for name in ("loss", "gradient_norm", "learning_rate", "tokens", "validation_loss", "validation_bits_per_byte"):
        assert [row[name] for row in history.rows] == [row[name] for row in whole.rows]
    weights = []
    for run in ("finetune-whole-1", "finetune-cut-2"):
        job = make_instruct_job(run, **training)
        assistant, last = learner(load(store, job.base).folder(), job.training), newest(store, [run])
        assert last is not None
        restore_model(last, assistant.model)
        weights.append(assistant.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_with_adapters_an_assistant_learns_to_stop_and_the_blocks_stand_still(
    store: FolderStore, make_instruct_job: MakeJob
) -> None:
    job = make_instruct_job(steps=120, learning_rate=2e-2, lora=LORA)
    assert finetune(job, ignore).rows[-1]["loss"] < 1.5
    base, last = load(store, job.base).folder(), newest(store, [job.run])
    assert last is not None
    before, assistant = from_base(base).model.state_dict(), learner(base, job.training)
    restore_model(last, assistant.model)
    after = assistant.model.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"embedding.weight", "head.weight"}
    chats, model = assistant.chats, merge_adapters(assistant.model).eval()
    prompt = chats.prompt_ids(ask("", "Say the", "").prompt)
    said = list(generate(model, prompt, max_new_tokens=20, temperature=0, stop=chats.stop, vocabulary=chats.tokenizer.size))
    assert 0 < len(said) < 20


def test_a_base_that_knows_the_markers_keeps_its_embedding_beside_adapters(
    store: FolderStore, make_instruct_job: MakeJob, tmp_path: Path
) -> None:
    job = make_instruct_job(lora=LORA)
    assistant = from_base(load(store, job.base).folder())
    write_assistant(tmp_path / "assistant", assistant)
    again = learner(tmp_path / "assistant", job.training)
    assert not again.new_markers
    settings = tmp_path / "assistant" / "tokenizer_config.json"
    template = json.loads(settings.read_text()).pop("chat_template")
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "chat_template": None}))
    assert from_base(tmp_path / "assistant").new_markers
    (tmp_path / "assistant" / "chat_template.jinja").write_text(template)  # as newer versions of transformers keep it
    assert not from_base(tmp_path / "assistant").new_markers
    assert {name.rpartition(".")[2] for name, each in again.model.named_parameters() if each.requires_grad} == {"lora_a", "lora_b"}


def test_a_chat_that_is_too_long_is_left_out_whole_and_counted(
    store: FolderStore, tmp_path: Path, make_instruct_job: MakeJob
) -> None:
    rows, splits = questions()
    rows[12] = ask("long", "Say it all", "the cat " * 40)  # of the training split
    facts = write_instructions(rows, splits, tmp_path / "more")
    examples = publish(store, "datasets/questions/2", tmp_path / "more", facts)
    chats = from_base(load(store, make_instruct_job().base).folder()).chats
    found = fitting(examples, "train", chats, 32)
    assert found.left_out == 1
    assert "long" not in {chat.id for chat in found.chats}
    assert len(found.chats) == len(found.rows) == splits.count("train") - 1
    assert all(row.ids[-2] == chats.end and row.mask[-2] for row in found.rows)
    with pytest.raises(InputError, match=r"42 of 42 rows \(train\) are longer than 3 tokens") as caught:
        fitting(examples, "train", chats, 3)
    assert "19 of 20 rows have" in caught.value.mend


def test_the_longest_chat_is_what_the_base_reads_unless_the_recipe_says_less() -> None:
    assert longest(FinetuneConfig(epochs=1.0), 256) == 256
    assert longest(FinetuneConfig(epochs=1.0, max_length=100), 256) == 100
    assert longest(FinetuneConfig(epochs=1.0, max_length=999), 256) == 256
