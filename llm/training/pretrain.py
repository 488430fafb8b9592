"""Pretraining: a fresh model, next-token prediction over the token shards."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from infra.store import open_store
from infra.store.manifest import load
from llm.data.batches import BatchOrder, read_batch
from llm.data.tokens import TokenStream
from llm.events import Observer, Sampled
from llm.models.build import new_model
from llm.models.causal import CausalModel
from llm.models.config import CausalConfig
from llm.serving.sampling import continue_text
from llm.text.files import TOKENIZER_FILES
from llm.text.tokenizer import Tokenizer
from llm.training.config import TrainingConfig
from llm.training.history import History
from llm.training.loop import train
from llm.training.numerics import Numerics
from llm.training.step import NextToken
from llm.training.topology import ALONE, Topology
from llm.training.work import Work, mean_loss

_VALIDATION_ROWS = 64  # about 16,000 tokens a look: enough to see the curve, little enough not to slow it


@dataclass(frozen=True)
class PretrainJob:
    """All that a worker has to know, as plain data: it opens the store and the shards itself."""

    store_url: str
    tokens: str
    run: str
    earlier_runs: tuple[str, ...]
    scratch: Path
    model: CausalConfig
    training: TrainingConfig
    steps: int
    numerics: Numerics
    prompt: str = ""

    @property
    def stage(self) -> str:
        return "pretrain"


def pretrain(job: PretrainJob, observe: Observer, topology: Topology = ALONE) -> History:
    """Trains to the end, from the newest checkpoint of this run or an earlier attempt. Leaves the model in the last checkpoint."""
    store = open_store(job.store_url)
    job.numerics.apply(topology.world)
    tokens = load(store, job.tokens)
    tokenizer = Tokenizer.load(tokens.folder(*TOKENIZER_FILES))
    device = torch.device(job.numerics.device)
    model = new_model(job.model)
    model.initialise(job.training.seed)
    model.to(device).train()
    document_start = tokenizer.eos if job.training.mask_documents else None
    objective, length = NextToken(document_start), job.training.sequence_length
    stream, held_out = TokenStream(tokens, "train"), TokenStream(tokens, "validation")
    rows = validation_rows(held_out, length)
    looks = [batch.to(device) for batch in rows]
    bytes_per_token = _bytes_per_token(rows, tokenizer)

    def read(starts: NDArray[Any]) -> Tensor:
        return torch.from_numpy(read_batch(stream, starts, length))

    def validate() -> tuple[float, float]:
        nats = mean_loss(model, objective, looks, job.numerics)
        return nats, nats / math.log(2) / bytes_per_token

    def sample(step: int, model: CausalModel) -> None:
        if job.prompt:
            model.eval()
            text = continue_text(
                model, tokenizer, job.prompt, max_new_tokens=40, temperature=0.7, top_p=0.9, seed=job.training.seed
            )
            model.train()
            observe(Sampled(step, job.prompt, text))

    work = Work(
        model=model,
        objective=objective,
        order=BatchOrder(len(stream), length, job.training.batch_size, job.training.seed, **job.training.skipped()),
        read=read,
        measure="bits_per_byte",
        validate=validate,
        sample=sample,
        facts={
            "dataset": tokens.version,
            "tokenizer": tokens.files["tokenizer.json"]["sha256"],
            "parameters": job.model.parameters(),
        },
        flops_per_token=job.model.flops_per_token(length),
    )
    return train(work, job, topology=topology, observe=observe)


def validation_rows(stream: TokenStream, length: int) -> list[Tensor]:
    """Rows spread evenly over the validation stream, the same in every run: batches of (16 or fewer, length + 1)."""
    length = min(length, len(stream) - 1)
    fit = max(1, (len(stream) - 1) // length)
    count = min(_VALIDATION_ROWS, fit)
    starts = [row * fit // count * length for row in range(count)]
    rows = torch.from_numpy(read_batch(stream, torch.tensor(starts).numpy(), length))
    return list(rows.split(16))


def _bytes_per_token(batches: Sequence[Tensor], tokenizer: Tokenizer) -> float:
    lengths = torch.from_numpy(tokenizer.token_bytes())
    targets = torch.cat([batch[:, 1:].flatten() for batch in batches])
    return float(lengths[targets].sum()) / len(targets)
