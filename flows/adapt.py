"""adapt: an existing model and some rows of your own become a model that serves."""

from prefect import State, flow

from flows.deploy import release_and_deploy
from flows.finetune_classify import classifier
from flows.finetune_instruct import assistant
from flows.models import base_model
from flows.pipeline.tasks import ended, run
from flows.recipes.recipes import AdaptRecipe
from llm.data.config import DataConfig


@flow(name="adapt", description="Finetune an existing model on rows of your own: measured, gated, released, deployed.")
def adapt(recipe: AdaptRecipe) -> State[None] | None:
    base = base_model(recipe.base, run)
    assert base is not None, "the recipe names a base"
    if recipe.classify.data.path:
        release_and_deploy(recipe.release, classifier(recipe.classify, DataConfig(), base), recipe.classify.target)
    if recipe.instruct.data.path:
        release_and_deploy(recipe.release, assistant(recipe.instruct, DataConfig(), base), recipe.instruct.target)
    return ended()
