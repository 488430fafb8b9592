"""Our runs as MLflow runs. The folder `runs/<id>/artifacts` of the store is the artifact directory of its MLflow run.

MLflow makes an artifact directory's name itself (`<experiment's location>/<its run id>/artifacts`), and its server registers
a model in a local folder only when that folder lies in the artifact directory of the run named with it. So the experiment's
location is `runs/mlflow` of the store, and a link there leads to our run's folder: the server resolves it before it compares.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from infra.store import open_store
from infra.tracking.client import connect, errors

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

RUN_TAG = "slipway.run"
_LOCATION = "runs/mlflow"
_log = logging.getLogger(__name__)


def ensure_run(tracking_uri: str, run: str, store_url: str, *, experiment: str) -> str:
    """The id of the MLflow run of our run `run`, made (as a finished one) when this MLflow does not know it.

    Registering needs it: the run may have been trained while another MLflow, or none, was there.
    """
    client = connect(tracking_uri)
    with errors(tracking_uri):
        found = find_run(client, experiment, {RUN_TAG: run}, folder=artifact_folder(store_url, run))
        if found is None:
            found = create_run(client, run, store_url, experiment=experiment)
            client.set_terminated(found, "FINISHED")
        return found


def end_run(tracking_uri: str, run: str, *, experiment: str) -> bool:
    """Marks the MLflow run of our run `run` as killed, where it says that it is running. For a run whose machine is lost."""
    client = connect(tracking_uri)
    with errors(tracking_uri):
        found = find_run(client, experiment, {RUN_TAG: run})
        if found is None or client.get_run(found).info.status != "RUNNING":
            return False
        client.set_terminated(found, "KILLED")
        return True


def find_run(
    client: "MlflowClient", experiment: str, tags: Mapping[str, str], *, folder: Path | None = None, without: str = ""
) -> str | None:
    """The youngest MLflow run with these tags, whose artifacts are in `folder` and which lacks the tag `without`, where given."""
    known = client.get_experiment_by_name(experiment)
    if known is None:
        return None
    wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    runs: list[Run] = client.search_runs([known.experiment_id], filter_string=wanted, order_by=["attributes.start_time DESC"])
    for run in runs:
        local = _local_path(run.info.artifact_uri)
        if without not in run.data.tags and (folder is None or local is None or local.resolve() == folder.resolve()):
            return str(run.info.run_id)
    return None


def create_run(
    client: "MlflowClient",
    run: str,
    store_url: str,
    *,
    experiment: str,
    tags: Mapping[str, str] | None = None,
    start_time: int | None = None,
) -> str:
    """A new MLflow run, its artifact directory linked to our run's. start_time: milliseconds since the epoch."""
    experiment_id = _experiment(client, experiment, open_store(store_url).uri(_LOCATION))
    made = client.create_run(experiment_id, start_time=start_time, tags={**(tags or {}), RUN_TAG: run}, run_name=run)
    _link(made.info.artifact_uri, artifact_folder(store_url, run))
    return str(made.info.run_id)


def artifact_folder(store_url: str, run: str) -> Path | None:
    """The local folder of our run's artifacts, or None when the store is not a folder."""
    return _local_path(open_store(store_url).uri(f"runs/{run}/artifacts"))


def _experiment(client: "MlflowClient", name: str, location: str) -> str:
    from mlflow.exceptions import MlflowException  # heavy, and loaded by then

    known = client.get_experiment_by_name(name)
    if known is None:
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            known = client.get_experiment_by_name(name)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or known is None:  # else another process was first
                raise
    if known.lifecycle_stage == "deleted":
        client.restore_experiment(known.experiment_id)
    return str(known.experiment_id)


def _link(artifact_uri: str, folder: Path | None) -> None:
    """Makes MLflow's artifact directory a link to `folder`; relative, so that the store can be moved as a whole."""
    link = _local_path(artifact_uri)
    if link is None or folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(folder.resolve(), link.parent.resolve()), target_is_directory=True)
    except OSError as error:  # an experiment of another machine: metrics are worth having without it
        _log.warning(
            "%s could not be linked to %s (%s): this run's artifacts will not show in MLflow", link, folder, error.strerror
        )


def _local_path(uri: str) -> Path | None:
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        return Path(unquote(parts.path) if parts.scheme else uri)
    return None
