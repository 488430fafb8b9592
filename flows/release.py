"""release: the decision that makes a registered version the champion, by the gates alone or by a person."""

from prefect import State, flow

from flows import stages
from flows.models import package_at, registered
from flows.pipeline.session import current
from flows.pipeline.tasks import ended, run
from flows.recipes.recipes import ReleaseRecipe


@flow(
    name="release", description="Make a registered version the champion, if its gates passed and, where asked for, a person agrees."
)
def release(recipe: ReleaseRecipe) -> State[None] | None:
    version = registered(recipe.model)
    package = package_at(current().store, version.source)
    run(stages.release(recipe.release, version.uri, package, version.tags.get("evidence.sha256", "")))
    return ended()
