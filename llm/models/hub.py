"""A Hugging Face folder <-> a model: `config.json` and safetensors, under the names `transformers` uses.

Families: Llama, Mistral, Qwen 2, Qwen 3 and GPT-2, and their classifiers. What differs between them stands in `hub_config.py`
and `hub_names.py`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from infra.store.errors import InputError
from llm.models.build import new_model
from llm.models.causal import CausalModel
from llm.models.classifier import Classifier
from llm.models.hub_config import CONFIG, kind, labels_of, load_config, read_config, to_hugging_face
from llm.models.hub_names import SCORE, Weight, weight_names
from llm.models.hub_weights import read_weights, write_weights
from llm.models.layers import Rope
from llm.models.lora import LoraLinear
from llm.models.weight_files import ONE

WEIGHTS, GENERATION = ONE, "generation_config.json"
SHARD_BYTES: Final = 5_000_000_000
"""How much others put into one file, where a model is written in several."""


def save_model(
    model: CausalModel,
    folder: Path,
    *,
    end_of_text: int,
    bos: int | None = None,
    pad: int | None = None,
    stop: Sequence[int] = (),
    shard_bytes: int | None = None,
) -> None:
    """Writes the folder that `transformers.AutoModelForCausalLM.from_pretrained` loads; weights in the model's own dtype.

    bos, pad: the tokenizer's own, where it has them; else the end of text does their work. stop: all ids that end an answer, for
    those who generate with it; without any, the end of text alone does. shard_bytes: how large a file may be; a package has its
    weights in one. Raises InputError for a model with adapters beside its matrices.
    """
    _check_merged(model)
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config
    dtype = write_weights(folder, _named(model), shard_bytes=shard_bytes)
    _write_json(folder / CONFIG, to_hugging_face(config, end_of_text=end_of_text, bos=bos, pad=pad, dtype=dtype))
    begin, ends = end_of_text if bos is None else bos, list(stop) or end_of_text
    _write_json(folder / GENERATION, {"bos_token_id": begin, "eos_token_id": ends, "max_length": config.context_length})


def save_classifier(
    model: Classifier,
    folder: Path,
    *,
    end_of_text: int,
    bos: int | None = None,
    pad: int | None = None,
    shard_bytes: int | None = None,
) -> None:
    """Writes the folder that `transformers.AutoModelForSequenceClassification.from_pretrained` loads; the rest as `save_model`."""
    _check_merged(model)
    folder.mkdir(parents=True, exist_ok=True)
    dtype = write_weights(folder, _named(model), shard_bytes=shard_bytes)
    padding = end_of_text if pad is None else pad  # a batch of texts always needs one
    document = to_hugging_face(model.body.config, end_of_text=end_of_text, bos=bos, pad=padding, dtype=dtype, labels=model.labels)
    _write_json(folder / CONFIG, document)


def load_model(folder: Path) -> CausalModel:
    """The model of a Hugging Face folder, on the CPU, in the dtype it is stored in.

    Raises InputError for what is not known here, DamagedError naming a missing, misshapen or superfluous weight.
    """
    if kind(folder) != "causal":
        raise InputError(
            "a classifier, not a model that continues text", where=str(folder), mend="Name the model that it was finetuned from."
        )
    config = load_config(folder)
    with torch.device("meta"):
        model = new_model(config)
    _fill(model, folder)
    if config.tied:
        model.head.weight = model.embedding.weight
    return model.eval()


def load_classifier(folder: Path) -> Classifier:
    """The classifier of a Hugging Face folder, on the CPU. Raises InputError for another kind of model, DamagedError as above."""
    if kind(folder) != "classifier":
        raise InputError("not a classifier", where=str(folder), mend="Finetune one with `slipway run finetune-classify`.")
    config, labels = load_config(folder), labels_of(read_config(folder), str(folder / CONFIG))
    with torch.device("meta"):
        model = Classifier(new_model(config), labels)
    _fill(model, folder)
    return model.eval()


def _check_merged(model: CausalModel | Classifier) -> None:
    if any(isinstance(module, LoraLinear) for module in model.modules()):
        mend = "Merge them first (`llm.models.lora.merge_adapters`), or save the adapters alone."
        raise InputError("it has LoRA adapters, which a model's folder cannot hold", where="model", mend=mend)


def _named(model: CausalModel | Classifier) -> list[tuple[Weight, Tensor]]:
    """Every weight that is stored, in order; a classifier has no output layer."""
    if not isinstance(model, Classifier):
        return [(weight, model.get_parameter(weight.ours)) for weight in weight_names(model.config)]
    body = model.body
    kept = [weight for weight in weight_names(body.config) if weight.ours != "head.weight"]
    return [*((weight, body.get_parameter(weight.ours)) for weight in kept), (Weight(SCORE, SCORE), model.score.weight)]


def _fill(model: CausalModel | Classifier, folder: Path) -> None:
    """Weights into a model on the meta device, which has no rotary tables yet either."""
    config, prefix = (model.body.config, "body.") if isinstance(model, Classifier) else (model.config, "")
    shapes = {weight: tuple(parameter.shape) for weight, parameter in _named(model)}
    tied_to = {"lm_head.weight": next(iter(shapes)).theirs} if config.tied and not prefix else {}
    loaded = {(ours if ours == SCORE else f"{prefix}{ours}"): tensor for ours, tensor in read_weights(folder, shapes, tied_to)}
    model.load_state_dict(loaded, assign=True, strict=False)
    for module in model.modules():
        if isinstance(module, Rope):
            module.reset()


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
