"""A Hugging Face folder <-> a litgpt checkpoint (0.5.13): `model_config.yaml`, `lit_model.pth`, the tokenizer's files.

litgpt keeps queries, keys and values in one matrix, one after the other; Llama, Mistral, Qwen 2 and Qwen 3 differ in a few fields
of its configuration. It has no learned positions, so no GPT-2. Its weights are pickled: what is read, is read with
`weights_only=True`, which runs no code.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from torch import Tensor

from infra.store.errors import DamagedError, InputError
from llm.models.litgpt_config import from_litgpt, read_fields, to_litgpt, write_fields
from llm.models.weight_files import ONE, header, slots, weight_files

CONFIG, WEIGHTS = "model_config.yaml", "lit_model.pth"
_TOP: Final = {"model.embed_tokens": "transformer.wte", "model.norm": "transformer.ln_f", "lm_head": "lm_head"}
_PARTS: Final = {
    "input_layernorm": "norm_1",
    "self_attn.o_proj": "attn.proj",
    "self_attn.q_norm": "attn.norm_q",
    "self_attn.k_norm": "attn.norm_k",
    "post_attention_layernorm": "norm_2",
    "mlp.gate_proj": "mlp.fc_1",
    "mlp.up_proj": "mlp.fc_2",
    "mlp.down_proj": "mlp.proj",
}
_QKV: Final = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_CARRIED: Final = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
_DTYPES: Final = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def write_checkpoint(folder: Path, target: Path, *, name: str) -> None:
    """Writes the folder that `litgpt.LLM.load(target)` loads. Raises InputError for what litgpt has no place for."""
    config = _json(folder / "config.json")
    fields = to_litgpt(config, str(folder / "config.json"), name)
    weights = dict(_to_litgpt_weights(folder, fields))
    if "lm_head.weight" not in weights:
        weights["lm_head.weight"] = weights["transformer.wte.weight"]
    torch.save(weights, target / WEIGHTS)  # from mapped files: in memory are the joined matrices alone
    write_fields(target / CONFIG, fields)
    for file in _CARRIED:
        if (folder / file).is_file():
            shutil.copyfile(folder / file, target / file)


def read_checkpoint(folder: Path, target: Path) -> None:
    """Writes a checkpoint's `config.json` and `model.safetensors` into `target`. Raises InputError for what is no Llama."""
    fields = read_fields(folder / CONFIG)
    config = from_litgpt(fields, str(folder / CONFIG), _json(folder / "config.json"))
    weights = _read_weights(folder / WEIGHTS)
    config["tie_word_embeddings"] = _is_tied(weights)
    plan = list(_from_litgpt_weights(weights, fields, tied=config["tie_word_embeddings"]))
    config["torch_dtype"] = str(plan[0][1].dtype).removeprefix("torch.")
    with (target / ONE).open("wb") as out:
        out.write(header([(name, _dtype(name, tensor, folder), tensor.shape) for name, tensor in plan]))
        for _, tensor in plan:
            tensor.contiguous().view(torch.uint8).numpy().tofile(out)
    (target / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _to_litgpt_weights(folder: Path, fields: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    found = slots(weight_files(folder))
    for theirs in found:
        module, _, kind = theirs.rpartition(".")
        layer, _, part = module.removeprefix("model.layers.").partition(".")
        if module in _TOP:
            yield f"{_TOP[module]}.{kind}", _tensor(found[theirs].path, theirs)
        elif part in _PARTS:
            yield f"transformer.h.{layer}.{_PARTS[part]}.{kind}", _tensor(found[theirs].path, theirs)
        elif part not in (*_QKV, "self_attn.rotary_emb"):
            raise InputError(f"litgpt has no place for the weight {theirs}", where=str(folder), mend="Export with --format hf.")
    for number in range(fields["n_layer"]):
        for kind in ("weight", "bias") if fields["attn_bias"] else ("weight",):
            names = [f"model.layers.{number}.{part}.{kind}" for part in _QKV]
            if missing := [name for name in names if name not in found]:
                raise DamagedError(f"{missing[0]} is missing", where=str(folder), mend="Fetch the model again.")
            qkv = torch.cat([_tensor(found[name].path, name) for name in names])  # (H + 2 · H_kv) · D rows
            yield f"transformer.h.{number}.attn.qkv.{kind}", qkv


def _from_litgpt_weights(weights: Mapping[str, Tensor], fields: Mapping[str, Any], *, tied: bool) -> Iterator[tuple[str, Tensor]]:
    D = fields.get("head_size") or fields["n_embd"] // fields["n_head"]
    kv = (fields.get("n_query_groups") or fields["n_head"]) * D
    theirs = {ours: name for name, ours in _TOP.items()} | {ours: name for name, ours in _PARTS.items()}
    for ours, tensor in weights.items():
        module, _, kind = ours.rpartition(".")
        layer, _, part = module.removeprefix("transformer.h.").partition(".")
        if ours == "lm_head.weight" and tied:
            continue
        if module in theirs:
            yield f"{theirs[module]}.{kind}", tensor
        elif part in ("attn.qkv", "attn.attn"):
            whole = _reassembled(tensor, fields) if part == "attn.attn" else tensor
            split = (fields["n_head"] * D, kv, kv)
            if sum(split) != len(whole):
                raise DamagedError(f"{ours} has {len(whole)} rows, {CONFIG} says {sum(split)}", where=WEIGHTS)
            for name, piece in zip(_QKV, whole.split(split), strict=True):
                yield f"model.layers.{layer}.{name}.{kind}", piece
        elif part in theirs:
            yield f"model.layers.{layer}.{theirs[part]}.{kind}", tensor
        else:
            raise InputError(
                f"a weight that no Llama has: {ours}", where=WEIGHTS, mend="Name a checkpoint of Llama, Mistral or Qwen."
            )


def _reassembled(tensor: Tensor, fields: Mapping[str, Any]) -> Tensor:
    """Checkpoints of before litgpt 0.5 have each group's queries, key and value beside each other: (G, q + 2, D) rows."""
    D = fields.get("head_size") or fields["n_embd"] // fields["n_head"]
    groups = fields.get("n_query_groups") or fields["n_head"]
    parts = tensor.view(groups, fields["n_head"] // groups + 2, D, *tensor.shape[1:])
    q, k, v = parts[:, :-2], parts[:, -2], parts[:, -1]
    return torch.cat([each.reshape(-1, *tensor.shape[1:]) for each in (q, k, v)])


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises what it comes upon: a bad zip, an unpickler's refusal
        first = str(error).split("\n", 1)[0][:120]
        mend = (
            "Name a checkpoint that litgpt wrote; one that holds more than tensors is not read, as reading it would run its code."
        )
        raise InputError(f"cannot be read as weights ({first})", where=str(path), mend=mend) from None
    state = state.get("model", state) if isinstance(state, dict) else {}
    if not state or not all(isinstance(each, Tensor) for each in state.values()):
        raise InputError("holds no weights", where=str(path), mend="Name a checkpoint that litgpt wrote.")
    return state


def _is_tied(weights: Mapping[str, Tensor]) -> bool:
    """A checkpoint has both; they are one where they lie at one place, or hold the same values."""
    head, embedding = weights.get("lm_head.weight"), weights["transformer.wte.weight"]
    return head is None or head.data_ptr() == embedding.data_ptr() or torch.equal(head, embedding)


def _tensor(path: Path, name: str) -> Tensor:
    with safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name)
        return tensor


def _dtype(name: str, tensor: Tensor, folder: Path) -> str:
    if tensor.dtype not in _DTYPES:
        raise InputError(f"{name} is {tensor.dtype}", where=str(folder / WEIGHTS), mend="Known are fp32, fp16 and bf16.")
    return _DTYPES[tensor.dtype]


def _json(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text()) if path.is_file() else {}
    return document if isinstance(document, dict) else {}
