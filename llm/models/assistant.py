"""An assistant: a causal model and the format of its chats. From a package, or from a base model that never saw a chat."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from infra.store.errors import InputError
from llm.models.build import new_model
from llm.models.causal import CausalModel
from llm.models.config import padded
from llm.models.hub import load_model
from llm.text.chat import MARKERS, ChatFormat, knows_chats
from llm.text.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class Assistant:
    """A model, on the CPU, and what makes ids of a chat for it."""

    model: CausalModel
    chats: ChatFormat
    new_markers: bool = False  # whether the model never read the markers of a chat: their rows have to be learnt


def load_assistant(folder: Path) -> Assistant:
    """From a package with our chat template. Raises InputError for a base model, which has none."""
    chats = ChatFormat.load(folder)
    if chats is None:
        raise InputError(
            "no assistant: its tokenizer_config.json has no chat template of Slipway's",
            where=str(folder),
            mend="Name an assistant, or make one with `slipway run finetune-instruct`.",
        )
    return Assistant(load_model(folder), chats)


def from_base(folder: Path) -> Assistant:
    """A base model that is to become an assistant, in fp32 whatever it is stored in: bf16 would lose small updates.

    A tokenizer without the markers of a chat gets them; their rows in the embedding, and in an output layer of its own, are the
    mean of the others (Hewitt, 2021). They take rows that no token uses, if there are any, else the embedding grows.
    """
    model: CausalModel = load_model(folder).float()
    tokenizer = Tokenizer.load(folder)
    if tokenizer.size > model.config.vocabulary:
        raise InputError(
            f"the tokenizer has {tokenizer.size:,} tokens, the model {model.config.vocabulary:,}",
            where=str(folder),
            mend="Put the tokenizer beside the model that was trained with it.",
        )
    extended = tokenizer.with_control_tokens(MARKERS)
    if extended is not tokenizer:
        model = _with_rows(model, tokenizer.size, extended.size)
    return Assistant(model, ChatFormat.of(extended), new_markers=extended is not tokenizer or not knows_chats(folder))


@torch.no_grad()
def _with_rows(model: CausalModel, known: int, size: int) -> CausalModel:
    """With room for `size` tokens, of which the first `known` are trained: a multiple of 64 rows where it has to grow."""
    config = model.config
    if size > config.vocabulary:
        config = replace(config, vocabulary=padded(size))
    grown = new_model(config)
    weights = model.state_dict()
    for name in ("embedding.weight", "head.weight"):
        rows = weights[name]  # (V, C)
        mean = rows[:known].mean(dim=0, keepdim=True)
        weights[name] = torch.cat((rows[:known], mean.expand(config.vocabulary - known, -1)))
    grown.load_state_dict(weights)
    return grown.to(weights["embedding.weight"].dtype).eval()
