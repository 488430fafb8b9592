"""review: a person approves or rejects a registered version; the reason goes on record."""

from prefect import flow

from flows import stages
from flows.models import registered
from flows.pipeline.session import Walked, current
from flows.pipeline.tasks import run
from flows.recipes.recipes import ReviewRecipe


@flow(name="review", description="Approve or reject a registered version: what was decided, by whom and why goes into the ledger.")
def review(recipe: ReviewRecipe) -> Walked:
    version = registered(recipe.model)
    reviewer = recipe.reviewer.strip() or current().settings.user
    return run(stages.review(version.uri, recipe.decision, recipe.reason, reviewer, version.tags.get("evidence.sha256", "")))
