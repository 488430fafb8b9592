"""deploy: an approved version onto a target, without a request lost."""

from prefect import flow

from flows import stages
from flows.deployment import approved
from flows.pipeline.session import Walked
from flows.pipeline.tasks import run
from flows.recipes.recipes import DeployRecipe
from flows.recipes.sections import ReleaseConfig


@flow(
    name="deploy",
    description="Put an approved version on a target: beside the old one, checked, switched to without a request lost.",
)
def deploy(recipe: DeployRecipe) -> Walked:
    chosen = approved(recipe.model)
    return run(
        stages.deploy(
            recipe.target,
            chosen.version.uri,
            chosen.package,
            chosen.evidence,
            rollout=recipe.rollout,
            reason=recipe.reason,
            again=True,
        )
    )


def release_and_deploy(release: ReleaseConfig, registered: Walked, target: str = "") -> None:
    """The end of every way to a model: the decision on the version just registered and, where it is a yes, its target."""
    package, evidence = registered.stage.inputs["package"], registered.stage.inputs["evidence"]
    released = run(stages.release(release, registered, package, evidence))
    if target and released.state not in ("refused", "awaiting review"):
        run(stages.deploy(target, released, package, evidence, reason="released by its flow"))
