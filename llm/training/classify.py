"""Finetuning to classify: cross-entropy of the label, read after the last token of each text."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from infra.store.manifest import Thing
from llm.data.classification import read_examples
from llm.data.examples import padded
from llm.data.splitting import Split
from llm.models.classifier import Classifier, encode_all
from llm.models.hub import load_model
from llm.models.lora import add_adapters
from llm.text.tokenizer import Tokenizer
from llm.training.config import FinetuneConfig
from llm.training.numerics import Numerics
from llm.training.task import Task

_LOOKED_AT = 512  # validation examples a look at most, evenly chosen: enough to see the curve, little enough not to slow it


class Classify:
    """A batch holds a row a text: its label, its length, its ids, filled up on the right. (B, 2 + T)"""

    def count(self, batch: Tensor) -> int:
        return len(batch)

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        return _cross_entropy(_logits(model, batch), batch)


def learner(base: Path, labels: Sequence[str], config: FinetuneConfig) -> Classifier:
    """What learns: the base's body, in fp32 whatever it is stored in, with a new output layer; with adapters if there are any."""
    model = Classifier(load_model(base).float(), labels, config.max_length)
    model.initialise(config.seed)
    return add_adapters(model, config.lora, seed=config.seed) if config.lora.rank else model


def prepare(base: Thing, examples: Thing, config: FinetuneConfig) -> Task:
    """The classifier as it learns, and the examples as the base's tokenizer reads them."""
    model, tokenizer = learner(base.folder(), examples.facts["labels"], config), Tokenizer.load(base.folder())
    length = model.body.config.context_length
    training = encoded(examples, "train", tokenizer, length)
    held_out = encoded(examples, "validation", tokenizer, length)
    chosen = np.unique(np.linspace(0, len(held_out) - 1, min(_LOOKED_AT, len(held_out))).round().astype(np.int64))
    looked_at = sorted((held_out[place] for place in chosen), key=len)  # like lengths together: little padding

    def read(rows: NDArray[np.int64]) -> Tensor:
        return padded([training[row] for row in rows])

    def validate(batches: Sequence[Tensor], numerics: Numerics) -> tuple[float, float]:
        return look(model, batches, numerics)

    return Task(
        model=model,
        objective=Classify(),
        lengths=np.array([len(row) - 2 for row in training], dtype=np.int64),
        read=read,
        looks=[padded(looked_at[start : start + 32]) for start in range(0, len(looked_at), 32)],
        measure="accuracy",
        validate=validate,
    )


def encoded(examples: Thing, split: Split, tokenizer: Tokenizer, length: int) -> list[list[int]]:
    """A row an example: its label's number, how many ids follow, the ids."""
    numbers = {label: number for number, label in enumerate(examples.facts["labels"])}
    rows = read_examples(examples, split)
    texts = encode_all(tokenizer, [row.text for row in rows], length)
    return [[numbers[row.label], len(ids), *ids] for row, ids in zip(rows, texts, strict=True)]


@torch.no_grad()
def look(model: nn.Module, batches: Sequence[Tensor], numerics: Numerics) -> tuple[float, float]:
    """Nats per text over the batches, and the share of right labels."""
    model.eval()
    nats = right = count = 0.0
    for batch in batches:
        with numerics.autocast():
            logits = _logits(model, batch)
        nats += float(_cross_entropy(logits, batch))
        right += float((logits.argmax(dim=1) == batch[:, 0]).sum())
        count += len(batch)
    model.train()
    return nats / count, right / count


def _logits(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch[:, 2:], batch[:, 1])  # (B, n_labels)


def _cross_entropy(logits: Tensor, batch: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), batch[:, 0], reduction="sum")
