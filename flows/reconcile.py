"""reconcile: what says that it runs, and whose process is certainly dead, is marked as over and lets go of what it holds."""

from contextlib import nullcontext
from typing import Literal

from prefect import flow

from flows import reconciling
from flows.pipeline.session import Walked, current
from flows.pipeline.stage import Stage
from flows.recipes.recipes import ReconcileRecipe
from infra import flow_runs, orchestrator


@flow(name="reconcile", description="Mark runs as over whose process died without a word, and release what they hold.")
def reconcile(recipe: ReconcileRecipe) -> list[Walked]:
    session = current()
    settings, silence = session.settings, recipe.silence_minutes * 60
    if session.planning and settings.prefect_api_url:
        orchestrator.connect(settings.home, settings.prefect_api_url).wait()
    with nullcontext() if session.planning and not settings.prefect_api_url else flow_runs.server() as client:
        found = reconciling.look(settings, session.store, client, silence=silence, watch=not session.planning)
        told = [(f"{dead.what}: {dead.fate}", dead.why) for dead in found if session.planning or dead.end()]
    if client is None:
        told.append(("flow runs: no Prefect server is up", "a temporary one looks"))
    if not told:
        told.append(("nothing to do", "whatever says that it runs has a process, or cannot be seen from here"))
    state: Literal["would run", "done"] = "would run" if session.planning else "done"
    session.walked += [Walked(Stage("reconcile", "", "; ".join(why)), state, why) for why in told]
    return session.walked
