"""One spool on its way to one MLflow: what was noted as shipped, and the next pass."""

import hashlib
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from infra.store import open_store
from infra.tracking.client import connect, errors
from infra.tracking.runs import RUN_TAG, artifact_folder, create_run, find_run
from infra.tracking.spool import Shipped, lock, records, shipped, writer_is_gone

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

SPOOL_TAG = "slipway.spool"
_BATCH = 1_000  # metrics a call; this and the next three are MLflow's limits
_PARAMS = 100
_PARAM_LENGTH = 6_000
_TAG_LENGTH = 8_000
_LOCK_SECONDS = 5.0
_SHOWN = {".png": 1 << 20, ".json": 1 << 20, ".md": 1 << 20, ".html": 1 << 20, ".parquet": 1 << 26}  # bytes at most
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # asking again would not help


class Shipment:
    """Passes over one spool. Only the pass holds the spool's lock, so that another process can take over between two."""

    def __init__(self, spool: Path, tracking_uri: str, store_url: str) -> None:
        self.spool, self.tracking_uri, self.store_url = spool, tracking_uri, store_url
        self._tracker = hashlib.sha256(tracking_uri.encode()).hexdigest()[:16]
        self._client: MlflowClient | None = None
        self._checked = False  # whether MLflow still knows the run that the note names

    def advance(self, until: float | None = None) -> Shipped:
        """Ships what is there. until: the time.monotonic() at which to stop, and to give up waiting for another shipper.

        Raises TrackingError when MLflow cannot be reached or fails, filelock.Timeout when somebody else is shipping.
        """
        state = shipped(self.spool)
        if state.tracker == self._tracker and (state.complete or not self._has_news(state)):
            return state
        with lock(self.spool).acquire(timeout=_LOCK_SECONDS if until is None else max(0.0, until - time.monotonic())):
            if self._client is None:
                self._client = connect(self.tracking_uri)
            with errors(self.tracking_uri):
                state = self._known(self._client, shipped(self.spool))
                if not state.complete:
                    _Pass(self._client, self.spool, self.store_url, state, until).run()
                return state

    def _has_news(self, state: Shipped) -> bool:
        return self.spool.stat().st_size > state.offset or writer_is_gone(self.spool)

    def _known(self, client: "MlflowClient", state: Shipped) -> Shipped:
        """The note, or a fresh one when it speaks of another server or of a run that MLflow has lost."""
        if state.tracker != self._tracker:
            return Shipped(run=state.run, tracker=self._tracker)
        if state.mlflow_run_id is not None and not self._checked:
            from mlflow.exceptions import MlflowException  # heavy, and loaded by then

            try:
                client.get_run(state.mlflow_run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return Shipped(run=state.run, tracker=self._tracker)
        self._checked = True
        return state


class _Discarded(Exception):
    """The MLflow run was deleted by a person: the rest of the spool has nowhere to go."""


class _Pass:
    """From the noted offset to the end of the spool, the note renewed after every batch."""

    def __init__(self, client: "MlflowClient", spool: Path, store_url: str, state: Shipped, until: float | None) -> None:
        self.client, self.spool, self.store_url, self.state, self.until = client, spool, store_url, state, until
        self._batch: list[Metric] = []
        self._end = state.offset  # the byte after the last record taken into the batch

    @property
    def _run_id(self) -> str:
        assert self.state.mlflow_run_id is not None
        return self.state.mlflow_run_id

    def run(self) -> None:
        from mlflow.entities import Metric  # heavy, and loaded by then

        gone = writer_is_gone(self.spool)  # asked before reading: what a writer left before it went is read below
        try:
            for record, end in records(self.spool, self.state.offset):
                if record["kind"] == "kept" or not record.get("shown", True):
                    self.state.last_time, self._end = record["time"], end
                elif record["kind"] == "metrics" and self.state.mlflow_run_id is not None:
                    values = record["values"].items()
                    self._batch += [Metric(key, value, _milliseconds(record["time"]), record["step"]) for key, value in values]
                    self.state.last_time, self._end = record["time"], end
                    if len(self._batch) >= _BATCH:
                        self._flush()
                else:
                    self._flush()
                    self._take(record)
                    self.state.last_time, self._end = record["time"], end
                    self._note()
                if self.until is not None and time.monotonic() > self.until:
                    gone = False  # more may be there
                    break
            self._flush()
            if self._end > self.state.offset:  # nothing of that was for MLflow
                self._note()
            if gone and not self.state.complete:
                self._end_run("KILLED", self.state.last_time)
                self._note()
        except _Discarded:
            self.state.complete = True
            self._note()

    def _take(self, record: dict[str, Any]) -> None:
        if record["kind"] == "opened":
            self._open(record)
        elif self.state.mlflow_run_id is None:
            self.state.refused.append(f"{record['kind']}: it stands before the run was opened")
        elif record["kind"] == "tags":
            self._tag(record["tags"])
        elif record["kind"] == "artifact":
            self._attach(Path(record["path"]), record["folder"])
        elif record["kind"] == "closed":
            self._end_run(record["status"], record["time"])

    def _open(self, record: dict[str, Any]) -> None:
        from mlflow.entities import Param

        if self.state.mlflow_run_id is None:
            self.state.mlflow_run_id = self._run_of(record)
        self._tag(record["tags"])
        params = [Param(key, _cut(value, _PARAM_LENGTH)) for key, value in record["params"].items()]
        for start in range(0, len(params), _PARAMS):
            self._call("log_batch", params=params[start : start + _PARAMS])

    def _run_of(self, record: dict[str, Any]) -> str:
        """The MLflow run that an interrupted shipper made, or that registering made before anything was shipped, or a new one."""
        experiment, run, mark = record["experiment"], record["run"], {SPOOL_TAG: record["nonce"]}
        if ours := find_run(self.client, experiment, mark):
            return ours
        if bare := find_run(
            self.client, experiment, {RUN_TAG: run}, folder=artifact_folder(self.store_url, run), without=SPOOL_TAG
        ):
            self.client.set_tag(bare, SPOOL_TAG, record["nonce"])
            return bare
        start = _milliseconds(record["time"])
        return create_run(self.client, run, self.store_url, experiment=experiment, tags=mark, start_time=start)

    def _tag(self, tags: dict[str, str]) -> None:
        for key, value in tags.items():
            self._call("set_tag", key, _cut(value, _TAG_LENGTH))

    def _attach(self, path: Path, folder: str) -> None:
        artifacts = artifact_folder(self.store_url, self.state.run)
        if artifacts is not None and path.resolve().is_relative_to(artifacts.resolve()):
            return  # it is where MLflow looks already
        if path.exists():
            self._call("log_artifact", str(path), artifact_path=folder or None)
        else:
            self.state.refused.append(f"artifact: {path} is gone")

    def _show(self) -> None:
        """Copies what is to be looked at to where MLflow looks, when that is another place of a bucket: no link leads there."""
        if artifact_folder(self.store_url, self.state.run) is not None:
            return
        store, top = open_store(self.store_url), f"runs/{self.state.run}/artifacts"
        try:
            for entry in store.list(top):
                if entry.bytes <= _SHOWN.get(PurePosixPath(entry.name).suffix, 0):
                    folder = str(PurePosixPath(entry.name).parent).removeprefix(top).strip("/")
                    self.client.log_artifact(self._run_id, str(store.get_file(entry.name)), artifact_path=folder or None)
        except Exception as error:  # a picture that does not show is no reason to lose what else there is to ship
            self.state.refused.append(f"artifacts: {error}")

    def _end_run(self, status: str, at: float) -> None:
        if self.state.mlflow_run_id is not None:
            self._show()
            self._call("set_terminated", status, end_time=_milliseconds(at))
        self.state.complete = True

    def _flush(self) -> None:
        if self._batch:
            for start in range(0, len(self._batch), _BATCH):
                self._send(self._batch[start : start + _BATCH])
            self._batch = []
            self._note()

    def _send(self, metrics: "list[Metric]") -> None:
        """One call, or after a refusal two of half the size: a metric that MLflow cannot take does not cost its neighbours."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.log_batch(self._run_id, metrics=metrics)
        except MlflowException as error:
            self._check_refusal(error)
            if len(metrics) == 1:
                self.state.refused.append(f"metric {metrics[0].key}: {error}")
                return
            middle = len(metrics) // 2
            self._send(metrics[:middle])
            self._send(metrics[middle:])

    def _call(self, method: str, *arguments: Any, **named: Any) -> None:
        from mlflow.exceptions import MlflowException

        try:
            getattr(self.client, method)(self._run_id, *arguments, **named)
        except MlflowException as error:
            self._check_refusal(error)
            self.state.refused.append(f"{method}: {error}")

    def _check_refusal(self, error: "MlflowException") -> None:
        """Raises the error again unless MLflow would say no every time; _Discarded when it does because the run was deleted."""
        if error.error_code not in _REFUSALS:
            raise error
        if self.client.get_run(self._run_id).info.lifecycle_stage == "deleted":
            raise _Discarded

    def _note(self) -> None:
        self.state.offset = self._end
        self.state.trouble = ""
        self.state.save(self.spool)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _cut(value: str, length: int) -> str:
    return value if len(value) <= length else value[: length - 1] + "…"
