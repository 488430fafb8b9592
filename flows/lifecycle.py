"""lifecycle: the whole way, from text to a registered model."""

from prefect import flow

from flows import stages
from flows.models import base_model, champion_of, missing_version
from flows.pipeline.session import Walked
from flows.pipeline.tasks import run
from flows.recipes.recipes import LifecycleRecipe


@flow(
    name="lifecycle", description="The whole way: validate and prepare data, pretrain (or take a base model), evaluate, register."
)
def lifecycle(recipe: LifecycleRecipe) -> Walked:
    corpus = run(stages.validate_data(recipe.data))
    base = base_model(recipe.base, run)
    tokens = run(stages.prepare_data(recipe.data, recipe.tokenizer, corpus, base))
    package = base or run(stages.pretrain(recipe.pretrain, tokens))["package"]
    evidence = run(stages.evaluate(recipe.evaluation, package, tokens, champion_of(recipe.registration.name)))
    return run(stages.register(recipe.registration, package, evidence, missing_version))
