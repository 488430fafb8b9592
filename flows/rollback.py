"""rollback: a target back to the version before."""

from prefect import flow

from flows import stages
from flows.pipeline.session import Walked
from flows.pipeline.tasks import run
from flows.recipes.recipes import RollbackRecipe


@flow(name="rollback", description="Put the version before back on a target, in seconds and without a request lost.")
def rollback(recipe: RollbackRecipe) -> Walked:
    return run(stages.rollback(recipe.target, recipe.reason))
