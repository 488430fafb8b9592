"""`python -m flows.started`: one run that was started in Prefect's pages, carried out as the command line carries one out.

The worker starts it, with the run's id in PREFECT__FLOW_RUN_ID. It has the same checks, leases, reuse and tracking; its
progress goes to the run's log, and what a user can mend ends it with one sentence.
"""

import functools
import os
from collections.abc import Callable
from typing import Any
from uuid import UUID

from flows.catalog import FLOWS
from flows.cli.progress import Terminal
from flows.cli.watching import watching
from flows.launch import walk_plan
from flows.pipeline.session import SESSION, Session, preflight
from flows.recipes.recipes import Recipe
from infra import flow_runs, orchestrator
from infra.processes import lead_session
from infra.settings import Settings
from infra.store.errors import InputError, SlipwayError
from llm.training.stopping import StoppedError


class RunLog(Terminal):
    """Progress in the log of the run, a line now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._live = False

    def _print(self, text: str) -> None:
        from prefect.logging import get_run_logger  # as in `main`

        get_run_logger().info(text)


def main() -> None:
    lead_session()
    settings = Settings.load()
    orchestrator.connect(settings.home, os.environ["PREFECT_API_URL"])
    from prefect._internal.control_listener import configure_from_env  # two seconds, and only once its environment stands
    from prefect.client.orchestration import get_client
    from prefect.engine import handle_engine_signals
    from prefect.flow_engine import run_flow

    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(os.environ["PREFECT__FLOW_RUN_ID"]))
        client.update_flow_run(run.id, tags=flow_runs.retag(run.tags))
        name = client.read_flow(run.flow_id).name
    session = Session.open(settings)
    session.watch = watching(settings, RunLog())
    SESSION.set(session)
    flow = FLOWS[name].load()
    flow.fn = as_from_the_command_line(flow.fn, session)
    os.chdir(settings.home.parent)  # a relative path in a form counts from there
    configure_from_env()  # how Prefect tells a run that it is cancelled
    with handle_engine_signals(run.id):
        run_flow(flow, flow_run=run, return_type="state")  # as `python -m prefect.engine`, which adds a traceback to each failure


def as_from_the_command_line(body: Callable[[Recipe], Any], session: Session) -> Callable[[Recipe], Any]:
    """The flow's body behind the checks of `slipway run`; what it stumbles over becomes the run's state, in words."""
    from prefect import State  # as above
    from prefect.logging import get_run_logger
    from prefect.states import Completed, Crashed, Failed

    @functools.wraps(body)
    def checked(recipe: Recipe) -> Any:
        try:
            if problems := recipe.problems():
                raise InputError("; ".join(problems), where="recipe", mend="Start a run with other values.")
            preflight(session, walk_plan(body, recipe, session))
            last_word = body(recipe)
        except StoppedError as error:  # its worker ends, or somebody ended it: nothing is wrong with it
            get_run_logger().warning(str(error))
            return Crashed(message=str(error))
        except SlipwayError as error:
            get_run_logger().error(str(error))
            return Failed(message=str(error))
        if isinstance(last_word, State):  # it waits for a person
            get_run_logger().warning(last_word.message)
            return last_word
        return Completed(message="; ".join(f"{walked.stage.name} {walked.state}" for walked in session.walked))

    return checked


if __name__ == "__main__":
    main()
