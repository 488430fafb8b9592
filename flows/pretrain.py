"""pretrain: a model from scratch, by next-token prediction."""

from prefect import flow

from flows import stages
from flows.pipeline.session import Walked
from flows.pipeline.tasks import run
from flows.recipes.recipes import PrepareDataRecipe, PretrainRecipe
from flows.recipes.sections import PretrainConfig


@flow(name="pretrain", description="Pretrain a model from scratch by next-token prediction; goes on where a killed run stopped.")
def pretrain(recipe: PretrainRecipe) -> Walked:
    return pretrained(recipe, recipe.pretrain)


def pretrained(recipe: PrepareDataRecipe, config: PretrainConfig) -> Walked:
    """From text to a model, as a part of other flows too."""
    corpus = run(stages.validate_data(recipe.data))
    tokens = run(stages.prepare_data(recipe.data, recipe.tokenizer, corpus))
    return run(stages.pretrain(config, tokens))
