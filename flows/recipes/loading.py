"""From a preset, a YAML file and `--set key=value` to a recipe; every problem is reported, all at once."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from flows.recipes.depth import by_depth
from flows.recipes.recipes import LifecycleRecipe, Recipe
from infra.store.errors import InputError

PRESETS = Path(__file__).parent / "presets"
_WHICH_MODEL = ("preset", "depth")  # here too
_HOW_LONG = ("steps", "epochs", "tokens_per_parameter")  # the one that was said last counts
R = TypeVar("R", bound=Recipe)


def load_recipe(kind: type[R], name: str, settings: Iterable[str] = ()) -> R:
    """The recipe `name` (a preset, a YAML file's path, or nothing: the defaults) for a flow, changed by `key=value` settings.

    One file serves every flow: each takes its own sections. Raises InputError with every problem of the recipe.
    """
    values = _for_flow(kind, _read(name))
    problems: list[str] = []
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            problems.append(f"--set {setting}: a setting is written key=value")
            continue
        _put(values, _own_key(kind, key), _value(text))
    problems += _unknown(kind, values)
    problems += by_depth(values)
    recipe = None
    if not problems:
        try:
            recipe = kind.model_validate(values)
            problems += recipe.problems()
        except ValidationError as error:
            problems += [_phrase(found) for found in error.errors()]
    if recipe is None or problems:
        what = (
            problems[0]
            if len(problems) == 1
            else f"{len(problems)} problems:\n" + "\n".join(f"  - {problem}" for problem in problems)
        )
        mend = f"`slipway run {_flow_name(kind)} --recipe {name} --plan` checks a recipe without starting anything."
        raise InputError(what, where=f"recipe {name}", mend=mend)
    return recipe


def starting_values(kind: type[Recipe], name: str) -> dict[str, Any]:
    """What a form for a flow is filled in with: the recipe `name` in full, and nothing where only the user can know."""
    said = _for_flow(kind, _read(name))
    values: dict[str, Any] = {}
    for key, field in kind.model_fields.items():
        adapter: TypeAdapter[Any] = TypeAdapter(field.rebuild_annotation())
        if key in said:
            values[key] = adapter.dump_python(adapter.validate_python(said[key]), mode="json")
        elif not field.is_required():
            values[key] = adapter.dump_python(field.get_default(call_default_factory=True), mode="json")
    return values


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def _read(name: str) -> dict[str, Any]:
    if not name:
        return {}
    path = PRESETS / f"{name}.yaml" if name in preset_names() else Path(name)
    try:
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        near = difflib.get_close_matches(name, preset_names(), 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(
            f"no such recipe; {hint}presets are {', '.join(preset_names())}", where=name, mend="Name a preset or a YAML file."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error})", where=name, mend="Name a preset or a YAML file.") from None
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f"{name}, line {place.line + 1}" if place else name
        raise InputError(f"not YAML ({getattr(error, 'problem', None) or error})", where=where, mend="Mend the line.") from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise InputError(
            "a recipe is a mapping of sections", where=name, mend=f"Its sections are {', '.join(LifecycleRecipe.model_fields)}."
        )
    return document


def _for_flow(kind: type[Recipe], values: dict[str, Any]) -> dict[str, Any]:
    """A lifecycle recipe read for one flow: its own sections alone, and `pretrain:` opened where the flow is pretraining."""
    if "training" in kind.model_fields and isinstance(inner := values.get("pretrain"), dict):
        values = {**inner, **values}
    others = {*LifecycleRecipe.model_fields, "model", "training"} - {*kind.model_fields}
    return {key: value for key, value in values.items() if key not in others or key in kind.model_fields}


def _own_key(kind: type[Recipe], key: str) -> str:
    """`training.steps` says `pretrain.training.steps` where pretraining is a section, and the other way round."""
    head = key.split(".", maxsplit=1)[0]
    if head in ("model", "training") and "pretrain" in kind.model_fields:
        return f"pretrain.{key}"
    if head == "pretrain" and "pretrain" not in kind.model_fields and "training" in kind.model_fields:
        return key.removeprefix("pretrain.")
    return key


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        inner = values.get(part)
        values[part] = dict(inner) if isinstance(inner, dict) else {}
        values = values[part]
    if last in _HOW_LONG and value:
        for other in _HOW_LONG:
            values.pop(other, None)
    if last in _WHICH_MODEL and path[-1:] == ["model"] and value:
        for other in _WHICH_MODEL:
            values.pop(other, None)
    values[last] = value


def _value(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):
        try:
            return float(value)  # YAML 1.1 takes 3e-4 for a word
        except ValueError:
            return value
    return "" if value is None else value


def _unknown(kind: type[Recipe], values: Mapping[str, Any]) -> list[str]:
    known = _keys(kind)
    sections = {".".join(name.split(".")[:depth]) for name in known for depth in range(1, name.count(".") + 1)}
    return [_nearest(key, known) for key in _leaves(values) if key not in known | sections]


def _nearest(key: str, known: set[str]) -> str:
    """The same word in another section comes first, its own section before pretraining's; then the nearest key or word."""
    head, last = key.split(".", 1)[0], key.rsplit(".", 1)[-1]
    likely = sorted(known, key=lambda name: (name.split(".")[0] != head, not name.startswith("pretrain."), name), reverse=True)
    words = {name.rsplit(".", 1)[-1]: name for name in likely}
    near = [words[last]] if last in words else difflib.get_close_matches(key, known, 1, 0.6)
    near = near or [words[word] for word in difflib.get_close_matches(last, words, 1, 0.75)]
    if near:
        return f"unknown key {key}, the nearest known one is {near[0]}"
    return f"unknown key {key}; the sections are {', '.join(sorted({name.split('.')[0] for name in known}))}"


def _keys(kind: type[Any], where: str = "") -> set[str]:
    """Every dotted key of a recipe class."""
    hints = get_type_hints(kind)
    names = kind.model_fields if issubclass(kind, Recipe) else [field.name for field in dataclasses.fields(kind)]
    found: set[str] = set()
    for name in names:
        inner = hints[name]
        is_section = isinstance(inner, type) and dataclasses.is_dataclass(inner)
        found |= _keys(inner, f"{where}{name}.") if is_section else {f"{where}{name}"}
    return found


def _leaves(values: Mapping[str, Any], where: str = "") -> list[str]:
    found: list[str] = []
    for key, value in values.items():
        found += _leaves(value, f"{where}{key}.") if isinstance(value, dict) and value else [f"{where}{key}"]
    return found


def _phrase(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{place} is missing"
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{place} is {error['input']!r}: {message}"


def _flow_name(kind: type[Recipe]) -> str:
    name = kind.__name__.removesuffix("Recipe")
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")
