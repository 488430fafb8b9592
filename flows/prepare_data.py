"""prepare-data: a tokenizer and token shards, split by document."""

from prefect import flow

from flows import stages
from flows.pipeline.session import Walked
from flows.pipeline.tasks import run
from flows.recipes.recipes import PrepareDataRecipe


@flow(name="prepare-data", description="Train a tokenizer on validated documents and write token shards, split by document.")
def prepare_data(recipe: PrepareDataRecipe) -> Walked:
    corpus = run(stages.validate_data(recipe.data))
    return run(stages.prepare_data(recipe.data, recipe.tokenizer, corpus))
