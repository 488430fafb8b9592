"""What `model.depth` fills in: batch size, learning rate and horizon, wherever a recipe does not say them itself."""

from typing import Any

from flows.recipes.sections import ModelConfig, PretrainConfig, TokenizerConfig
from llm.training import depth as dial
from llm.training.config import TrainingConfig

_HORIZONS = ("steps", "epochs", "tokens_per_parameter")


def by_depth(values: dict[str, Any]) -> list[str]:
    """Completes the raw values of a recipe, as YAML and `--set` gave them. Returns what is wrong with the depth, a phrase each."""
    inside = "pretrain." if isinstance(values.get("pretrain"), dict) else ""
    section = values["pretrain"] if inside else values
    model = section.get("model")
    if not isinstance(model, dict) or not _whole(model.get("depth"), 0):
        return []
    if "preset" in model:
        return [f"{inside}model.preset and {inside}model.depth both say which model; give one of them"]
    training = section.setdefault("training", {})
    if not isinstance(training, dict):
        return []
    if training.get("epochs") and not {"batch_size", "learning_rate"} <= training.keys():
        return [
            (
                f"{inside}training.epochs leaves open how many tokens there are, from which {inside}model.depth derives the rest: "
                f"give tokens_per_parameter or steps in its place, or batch_size and learning_rate too"
            )
        ]
    if not any(training.get(name) for name in _HORIZONS):
        training["tokens_per_parameter"] = dial.HORIZON
    tokenizer = values.get("tokenizer")
    vocabulary = tokenizer.get("vocabulary") if isinstance(tokenizer, dict) else None
    found = _derived(ModelConfig(depth=model["depth"]), training, _whole(vocabulary, TokenizerConfig().vocabulary))
    training.setdefault("batch_size", found.batch_size)
    training.setdefault("learning_rate", found.learning_rate)
    return []


def derived(config: PretrainConfig, vocabulary: int) -> dict[str, Any]:
    """What the depth of a model makes of it, and what the recipe takes: nothing for a preset."""
    if not config.model.depth:
        return {}
    training = config.training
    model = config.model.shape(vocabulary=vocabulary, context_length=training.sequence_length)
    said = {name: getattr(training, name) for name in ("steps", "tokens_per_parameter", "sequence_length", "batch_size")}
    free, held = _derived(config.model, {**said, "batch_size": 0}, vocabulary), _derived(config.model, said, vocabulary)
    return {
        "depth": config.model.depth,
        "width": model.width,
        "heads": model.n_heads,
        "hidden": model.hidden,
        "batch_size": {"derived": free.batch_size, "taken": training.batch_size},
        "learning_rate": {"derived": held.learning_rate, "taken": training.learning_rate},
        "tokens_per_parameter": {"derived": dial.HORIZON, "taken": round(held.tokens_per_parameter, 3)},
    }


def _derived(model: ModelConfig, training: dict[str, Any], vocabulary: int) -> dial.Settings:
    length = _whole(training.get("sequence_length"), TrainingConfig(steps=1).sequence_length)
    return dial.settings(
        model.shape(vocabulary=vocabulary, context_length=length),
        sequence_length=length,
        tokens_per_parameter=_real(training.get("tokens_per_parameter"), dial.HORIZON),
        steps=_whole(training.get("steps"), 0),
        batch_size=_whole(training.get("batch_size"), 0),
    )


def _whole(value: object, otherwise: int) -> int:
    """A positive number from outside; what it is else is for the recipe's checks to say."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else otherwise


def _real(value: object, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else otherwise
