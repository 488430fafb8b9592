"""validate-data: gather documents and judge them. A failing expectation stops everything that would come after."""

from prefect import flow

from flows import stages
from flows.pipeline.session import Walked
from flows.pipeline.tasks import run
from flows.recipes.recipes import ValidateDataRecipe


@flow(name="validate-data", description="Gather documents and judge them; a failing expectation stops everything after it.")
def validate_data(recipe: ValidateDataRecipe) -> Walked:
    return run(stages.validate_data(recipe.data))
