"""A small dataset and a small job, made here: the promises about training never depend on data from elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.store.folder import FolderStore
from infra.store.manifest import publish
from infra.store.protocol import Store
from llm.data.classification import write_examples
from llm.data.encoding import token_dtype
from llm.data.kinds.classification import Labelled
from llm.data.splitting import split_documents
from llm.data.tokens import write_tokens
from llm.models.build import new_model
from llm.models.hub import save_model
from llm.models.presets import preset
from llm.text.tokenizer import Tokenizer
from llm.training.config import FinetuneConfig, TrainingConfig
from llm.training.finetune import FinetuneJob
from llm.training.numerics import Numerics
from llm.training.pretrain import PretrainJob

WORDS = "the a cat dog sat ran on under mat house red small and then quickly home".split()


@dataclass(frozen=True)
class Text:
    id: str
    text: str

    @property
    def parent(self) -> str:
        return self.id


def sentences(n: int) -> list[Text]:
    random = np.random.default_rng(0)
    return [Text(str(i), " ".join(random.choice(WORDS, 40)) + ".") for i in range(n)]


def write_dataset(store: Store, folder: Path) -> str:
    """Publishes token shards of generated sentences and returns their name."""
    documents = sentences(120)
    tokenizer = Tokenizer.train((document.text for document in documents), 320)
    counts = write_tokens(documents, split_documents(documents, validation_share=0.1, test_share=0.1).splits, tokenizer, folder)
    tokenizer.save(folder, context_length=64)
    facts = {
        "dtype": token_dtype(tokenizer.size).str,
        "vocabulary": tokenizer.size,
        "splits": {split: vars(count) for split, count in counts.items()},
    }
    return publish(store, "datasets/sentences/1", folder, facts).prefix


@pytest.fixture
def make_job(store: FolderStore, tmp_path: Path) -> Callable[..., PretrainJob]:
    """`make_job("pretrain-a-1", steps=12, checkpoint_every=4)`: a job of the tiny preset over generated sentences."""
    tokens = write_dataset(store, tmp_path / "tokens")

    def make(run: str = "pretrain-a-1", *, earlier_runs: tuple[str, ...] = (), **training: Any) -> PretrainJob:
        config = replace(
            TrainingConfig(steps=12, batch_size=4, sequence_length=32, validate_every=4, checkpoint_every=4, learning_rate=1e-2),
            **training,
        )
        scratch = tmp_path / "scratch" / run
        scratch.mkdir(parents=True, exist_ok=True)
        return PretrainJob(
            store_url=store.url,
            tokens=tokens,
            run=run,
            earlier_runs=earlier_runs,
            scratch=scratch,
            model=preset("llama-tiny", vocabulary=320, context_length=32),
            training=config,
            steps=config.steps,
            numerics=Numerics.decide("fp32", config.optimizer),
        )

    return make


def write_base(store: Store, folder: Path) -> str:
    """Publishes an untrained model of the tiny preset with a tokenizer, as a package, and returns its name."""
    tokenizer = Tokenizer.train((document.text for document in sentences(120)), 320)
    model = new_model(preset("llama-tiny", vocabulary=320, context_length=32))
    model.initialise(3)
    save_model(model, folder, end_of_text=tokenizer.eos)
    tokenizer.save(folder, context_length=32)
    return publish(store, "runs/base/artifacts/package", folder, {"kind": "package"}).prefix


def write_labelled(store: Store, folder: Path) -> str:
    """Publishes sentences of unequal length labelled by the word they begin with, and returns the dataset's name."""
    random = np.random.default_rng(1)
    examples = []
    for i in range(96):
        word = ("cat", "dog", "house")[i % 3]
        examples.append(Labelled(str(i), " ".join([word, *random.choice(WORDS, int(random.integers(1, 20)))]), word))
    splits = [("test", "validation", "train", "train")[i // 3 % 4] for i in range(96)]
    facts = write_examples(examples, splits, folder)  # type: ignore[arg-type]
    return publish(store, "datasets/beginnings/1", folder, facts).prefix


@pytest.fixture
def make_finetune_job(store: FolderStore, tmp_path: Path) -> Callable[..., FinetuneJob]:
    """`make_finetune_job("finetune-a-1", steps=12)`: a job that classifies sentences, on an untrained base."""
    base, examples = write_base(store, tmp_path / "base"), write_labelled(store, tmp_path / "labelled")

    def make(run: str = "finetune-a-1", *, earlier_runs: tuple[str, ...] = (), **training: Any) -> FinetuneJob:
        config = replace(
            FinetuneConfig(steps=12, batch_size=4, validate_every=4, checkpoint_every=4, learning_rate=3e-3), **training
        )
        scratch = tmp_path / "scratch" / run
        scratch.mkdir(parents=True, exist_ok=True)
        return FinetuneJob(
            store_url=store.url,
            base=base,
            examples=examples,
            run=run,
            earlier_runs=earlier_runs,
            scratch=scratch,
            task="classify",
            training=config,
            steps=config.steps,
            numerics=Numerics.decide("fp32", config.optimizer),
        )

    return make
