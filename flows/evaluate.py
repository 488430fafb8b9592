"""evaluate: evidence about a model, on documents that it never saw."""

from dataclasses import dataclass

from prefect import flow

from flows import stages
from flows.models import base_model, champion_of
from flows.pipeline.session import Walked
from flows.pipeline.stage import Input
from flows.pipeline.tasks import run
from flows.recipes.recipes import EvaluateRecipe, RegisterRecipe


@dataclass(frozen=True)
class Measured:
    """A model package and the evidence about it."""

    package: Input
    evidence: Walked


@flow(name="evaluate", description="Measure a model on held-out documents, beside an n-gram model and xz.")
def evaluate(recipe: EvaluateRecipe) -> Walked:
    return measure(recipe).evidence


def measure(recipe: EvaluateRecipe) -> Measured:
    """From text to evidence; with `base` given, pretraining is left out and the base model's own tokenizer is used."""
    corpus = run(stages.validate_data(recipe.data))
    base = base_model(recipe.base, run)
    tokens = run(stages.prepare_data(recipe.data, recipe.tokenizer, corpus, base))
    package = base or run(stages.pretrain(recipe.pretrain, tokens))["package"]
    champion = champion_of(recipe.registration.name) if isinstance(recipe, RegisterRecipe) else None
    return Measured(package, run(stages.evaluate(recipe.evaluation, package, tokens, champion)))
