"""Adapters in PEFT's own files, both ways: `adapter_config.json` and `adapter_model.safetensors`, named as `peft` names them."""

import json
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from infra.store.errors import DamagedError, InputError
from llm.models.classifier import Classifier
from llm.models.hub_names import weight_names
from llm.models.lora import adapters, add_adapters, body, matrices, within_block
from llm.models.lora_config import LoraConfig

M = TypeVar("M", bound=nn.Module)
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_WRAPPED: Final = "base_model.model."  # how peft calls the model that it wraps
_SCORE: Final = f"{_WRAPPED}score.weight"
_A, _B = ".lora_A.weight", ".lora_B.weight"
# Of PEFT's settings: those that are read, those that say nothing about what is computed from saved adapters, and what the rest
# must be. A setting that is not known here changes nothing only while it is off.
_READ: Final = {"r", "lora_alpha", "lora_dropout", "use_rslora", "target_modules", "modules_to_save"}
_SILENT: Final = {
    "auto_mapping", "base_model_name_or_path", "exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern",
    "layers_to_transform", "megatron_core", "peft_version", "qalora_group_size", "revision", "task_type",
}  # fmt: skip
_NEEDED: Final[dict[str, tuple[Any, ...]]] = {"peft_type": ("LORA",), "bias": ("none",)}
# The others start from changed weights: their adapters say nothing beside the weights that we have.
_STARTS: Final = (True, False, "gaussian", "orthogonal", "eva")


def save_adapters(model: nn.Module, config: LoraConfig, folder: Path, *, base: str | None = None) -> None:
    """Writes the folder that `peft.PeftModel.from_pretrained` loads onto the model of the same package in `transformers`.

    base: where that model is, for readers who are not told.
    """
    names, wrapped = _module_names(model), dict(adapters(model))
    assert wrapped, "a model without adapters"
    tensors: dict[str, Tensor] = {}
    for name, module in wrapped.items():
        tensors[_WRAPPED + names[name] + _A] = module.lora_a
        tensors[_WRAPPED + names[name] + _B] = module.lora_b
    if isinstance(model, Classifier):
        tensors[_SCORE] = model.score.weight
    settings = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS" if isinstance(model, Classifier) else "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": config.rank,
        "lora_alpha": int(config.alpha) if config.alpha == int(config.alpha) else config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.rank_stabilised,
        "target_modules": sorted(_target_names(names, {within_block(name) for name in wrapped})),
        "modules_to_save": ["score"] if isinstance(model, Classifier) else None,
        # GPT-2 keeps its matrices transposed in `transformers`; the adapters are the same.
        "fan_in_fan_out": any(".c_attn" in name for name in names.values()),
        "bias": "none",
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def load_adapters(model: M, folder: Path) -> tuple[M, LoraConfig]:
    """Wraps the model in place with the adapters of a folder, ours or PEFT's.

    Raises InputError for adapters of another model and for what PEFT can do and is not done here, by its name.
    """
    settings, tensors = _settings(folder), _tensors(folder / WEIGHTS)
    where, ours = str(folder), {theirs: name for name, theirs in _module_names(model).items()}
    parts = {name.removeprefix(_WRAPPED).removesuffix(end) for name in tensors for end in (_A, _B) if name.endswith(end)}
    known = {_WRAPPED + part + end for part in parts if part in ours for end in (_A, _B)}
    known |= {_SCORE} if isinstance(model, Classifier) else set()
    if strange := sorted(tensors.keys() ^ known):
        raise InputError(
            f"adapters for another model, or of a kind that is not read here: {strange[0]} {_whose(strange[0], tensors)}",
            where=where,
            mend="Name the adapters that were trained beside this model, of the matrices of its blocks.",
        )
    chosen = {within_block(ours[part]) for part in parts}
    config = LoraConfig(
        rank=settings["r"],
        alpha=float(settings["lora_alpha"]),
        dropout=float(settings.get("lora_dropout") or 0.0),
        targets=tuple(name for name in dict.fromkeys(map(within_block, matrices(model))) if name in chosen),
        rank_stabilised=bool(settings.get("use_rslora")),
    )
    expected = [name for name in matrices(model) if within_block(name) in chosen]
    if missing := [name for name in expected if name not in {ours[part] for part in parts}]:
        raise InputError(f"adapters for some layers alone: none for {missing[0]}", where=where, mend="Adapt every layer.")
    add_adapters(model, config)
    with torch.no_grad():
        for name, module in adapters(model):
            theirs = _WRAPPED + _module_names(model)[name]
            _copy(module.lora_a, tensors[theirs + _A], theirs + _A, where)
            _copy(module.lora_b, tensors[theirs + _B], theirs + _B, where)
        if isinstance(model, Classifier):
            _copy(model.score.weight, tensors[_SCORE], _SCORE, where)
    return model, config


def _copy(parameter: Tensor, tensor: Tensor, name: str, where: str) -> None:
    if parameter.shape != tensor.shape:
        raise InputError(
            f"{name} has shape {tuple(tensor.shape)}, this model takes {tuple(parameter.shape)}",
            where=where,
            mend="Name the adapters that were trained beside this model.",
        )
    parameter.copy_(tensor)


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        settings: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError("no adapters", where=str(path), mend="Adapters are a folder with adapter_config.json.") from None
    except ValueError:
        raise DamagedError("not JSON", where=str(path), mend="Fetch the adapters again.") from None
    refused = [
        f"{name}={settings.get(name)!r}" for name, allowed in _NEEDED.items() if settings.get(name, allowed[0]) not in allowed
    ]
    if settings.get("init_lora_weights", True) not in _STARTS:
        refused.append(f"init_lora_weights={settings['init_lora_weights']!r}")
    if set(settings.get("modules_to_save") or ()) - {"score", "classifier"}:
        refused.append(f"modules_to_save={settings['modules_to_save']!r}")
    rest = settings.keys() - _READ - _SILENT - _NEEDED.keys() - {"init_lora_weights"}
    refused += [f"{name}={settings[name]!r}" for name in sorted(rest) if settings[name]]
    if refused:
        raise InputError(
            f"adapters of a kind that is not read here ({', '.join(refused)})",
            where=str(path),
            mend="Merge them in peft and import the merged model.",
        )
    return settings


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError("no adapters", where=str(path), mend="Save them as safetensors, as peft does by default.") from None
    except SafetensorError as error:
        raise DamagedError(f"not whole ({error})", where=str(path), mend="Fetch the adapters again.") from None


def _module_names(model: nn.Module) -> dict[str, str]:
    """Our names of the matrices that can have adapters, and those of `transformers`."""
    known, config = matrices(model), body(model).config
    assert not isinstance(config, Tensor | nn.Module), "a model has its configuration"
    named = {name[0].removesuffix(".weight"): name[1].removesuffix(".weight") for name in weight_names(config)}
    return {ours: named[ours] for ours in known}


def _target_names(names: dict[str, str], chosen: set[str]) -> set[str]:
    """How PEFT finds the chosen matrices: by the end of their names, as short as says it without taking others along."""
    others = [theirs for ours, theirs in names.items() if within_block(ours) not in chosen]
    found = set()
    for target in chosen:
        path = next(theirs for ours, theirs in names.items() if within_block(ours) == target).split(".")
        ends = (".".join(path[-n:]) for n in range(1, len(path)))
        found.add(next(end for end in ends if not any(other.endswith(f".{end}") for other in others)))
    return found


def _whose(name: str, tensors: dict[str, Tensor]) -> str:
    return "has no place in it" if name in tensors else "is missing"
