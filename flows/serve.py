"""`python -m flows.serve`: the worker of `slipway up`. Every flow of the catalog can be started with a form in Prefect's pages."""

import sys
import threading
from typing import TYPE_CHECKING, Final

from flows import reconciling
from flows.catalog import FLOWS, FlowEntry
from flows.recipes.loading import starting_values
from infra import flow_runs, orchestrator
from infra.settings import Settings
from infra.store.errors import SlipwayError

SCHEDULES: Final = {"pretrain": "0 3 * * *"}
"""Cron schedules, in UTC, that stand on a flow's page switched off. A night without news takes seconds: nothing is done twice."""

if TYPE_CHECKING:
    from infra.worker import Deployment

_PRESET: Final = "tiny"
_PATIENCE: Final = 180.0


def main() -> None:
    """Serves until it is stopped; a reason not to comes as one sentence, with exit code 1 or 2."""
    settings = Settings.load()
    if settings.prefect_api_url is None:
        sys.exit("PREFECT_API_URL names no server: `slipway up` starts one, and this worker with it.")
    try:
        server = orchestrator.connect(settings.home, settings.prefect_api_url)
        from infra import worker  # Prefect: loaded once its environment stands, and while its server still comes up

        deployments = [_deployment(entry) for entry in FLOWS.values()]
        server.wait(patience=_PATIENCE)
        flow_runs.end_gone()
        worker.recover()
        worker.register(deployments, [sys.executable, "-m", "flows.started"], settings.home / "logs")
        threading.Thread(target=reconciling.keep, args=(settings,), name="reconcile", daemon=True).start()
        worker.work()
    except SlipwayError as error:
        sys.stderr.write(f"{error}\n".replace("\n", " ").strip() + "\n")
        sys.exit(error.exit_code)


def _deployment(entry: FlowEntry) -> "Deployment":
    from flows.forms import filled, form  # Prefect, as above
    from infra.worker import Deployment

    flow = entry.load()
    recipe = starting_values(entry.recipe, _PRESET)
    path = f"{flow.fn.__module__}.{flow.fn.__name__}"
    return Deployment(entry.name, path, flow.description or "", form(flow), filled(recipe, flow), SCHEDULES.get(entry.name, ""))


if __name__ == "__main__":
    main()
