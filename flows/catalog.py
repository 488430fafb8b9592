"""The flows by name, and the recipe each takes. Naming one loads it; listing them loads nothing."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from flows.recipes import recipes
from infra.store.errors import InputError


@dataclass(frozen=True)
class FlowEntry:
    """Where a flow lies, and what fills it in."""

    name: str
    module: str
    recipe: type[recipes.Recipe]

    def load(self) -> Any:
        """The Prefect flow; loading Prefect takes two seconds."""
        return getattr(importlib.import_module(self.module), self.name.replace("-", "_"))

    def function(self) -> Callable[[recipes.Recipe], Any]:
        """The flow's body alone, for walking it as a plan."""
        return cast("Callable[[recipes.Recipe], Any]", self.load().fn)


_RECIPES: Final[dict[str, type[recipes.Recipe]]] = {
    "validate-data": recipes.ValidateDataRecipe,
    "prepare-data": recipes.PrepareDataRecipe,
    "pretrain": recipes.PretrainRecipe,
    "finetune-classify": recipes.FinetuneClassifyRecipe,
    "finetune-instruct": recipes.FinetuneInstructRecipe,
    "evaluate": recipes.EvaluateRecipe,
    "register": recipes.RegisterRecipe,
    "release": recipes.ReleaseRecipe,
    "review": recipes.ReviewRecipe,
    "deploy": recipes.DeployRecipe,
    "rollback": recipes.RollbackRecipe,
    "adapt": recipes.AdaptRecipe,
    "lifecycle": recipes.LifecycleRecipe,
    "reconcile": recipes.ReconcileRecipe,
}
FLOWS: Final = {name: FlowEntry(name, f"flows.{name.replace('-', '_')}", recipe) for name, recipe in _RECIPES.items()}


def flow_entry(name: str) -> FlowEntry:
    if name not in FLOWS:
        raise InputError(f"no flow {name!r}", where="slipway run", mend=f"The flows are {', '.join(FLOWS)}.")
    return FLOWS[name]
