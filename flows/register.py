"""register: a measured model becomes a candidate in the registry."""

from prefect import flow

from flows import stages
from flows.evaluate import measure
from flows.models import missing_version
from flows.pipeline.session import Walked
from flows.pipeline.tasks import run
from flows.recipes.recipes import RegisterRecipe


@flow(name="register", description="Register a measured model as a candidate, by reference, with gates, lineage and a card.")
def register(recipe: RegisterRecipe) -> Walked:
    measured = measure(recipe)
    return run(stages.register(recipe.registration, measured.package, measured.evidence, missing_version))
