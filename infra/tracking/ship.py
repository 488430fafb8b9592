"""Ships a spool to MLflow, from a process of its own: `python -m infra.tracking.ship SPOOL --store URL`.

Shipping may be cut off anywhere and started again. What is in doubt then, the batch after the last noted offset, is sent
again: MLflow's database keeps one row for equal (metric, time, step, value), the run is found again by its spool's tag, and
parameters, tags and files of the same name replace themselves. A server that is down is tried again, later and later.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from filelock import Timeout

from infra.tracking.client import TrackingError, prepare_environment
from infra.tracking.shipment import Shipment
from infra.tracking.spool import Shipped, followed, shipped, writer_is_gone

_POLL_SECONDS = 1.0
_LONGEST_PAUSE = 10.0
_PATIENCE = 600.0


def start_shipper(spool: Path, tracking_uri: str, store_url: str) -> "subprocess.Popen[bytes]":
    """Starts the shipper of one spool in a session of its own: a Ctrl-C or kill of the run does not reach it.

    It ends by itself when the run is closed, or its writer gone, and everything is shipped. Its complaints go to `ship.log`
    beside the spool. The address travels in the environment, because it may carry a password.
    """
    prepare_environment()
    spool.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "infra.tracking.ship", str(spool), "--store", store_url]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri}
    with (spool.parent / "ship.log").open("ab") as log:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def ship_now(spool: Path, tracking_uri: str, store_url: str, *, timeout: float = 30.0) -> Shipped:
    """Ships what is there, here and now, for at most about `timeout` seconds. Never raises because MLflow is down.

    Look at `.complete`, `.mlflow_run_id` and, where it did not succeed, `.trouble`. A shipper at work is waited for, not doubled.
    """
    try:
        return Shipment(spool, tracking_uri, store_url).advance(until=time.monotonic() + timeout)
    except TrackingError as error:
        return _with_trouble(spool, str(error))
    except Timeout:
        return _with_trouble(spool, f"{spool}: another shipper is at work on it")


def follow(spool: Path, tracking_uri: str, store_url: str, *, patience: float = _PATIENCE) -> Shipped:
    """Ships until the run is closed or its writer gone, and everything has arrived.

    One process follows a spool; a second returns at once.
    patience: seconds without success after which it gives up on a run that has no writer any more; the spool stays pending.
    """
    try:
        with followed(spool).acquire(blocking=False):
            return _follow(spool, tracking_uri, store_url, patience)
    except Timeout:
        return _with_trouble(spool, f"{spool}: another shipper follows it")


def _follow(spool: Path, tracking_uri: str, store_url: str, patience: float) -> Shipped:
    shipment = Shipment(spool, tracking_uri, store_url)
    pause, success = _POLL_SECONDS, time.monotonic()
    while True:
        try:
            if (state := shipment.advance()).complete:
                return state
            pause, success = _POLL_SECONDS, time.monotonic()
        except (TrackingError, Timeout) as error:
            pause = min(2 * pause, _LONGEST_PAUSE)
            if time.monotonic() - success > patience and writer_is_gone(spool):
                return _with_trouble(spool, str(error))
        time.sleep(pause)


def _with_trouble(spool: Path, trouble: str) -> Shipped:
    state = shipped(spool)
    state.trouble = trouble
    return state


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.tracking.ship", description="Ship a run's spool to MLflow.")
    parser.add_argument("spool", type=Path, help="the file RUN.jsonl")
    parser.add_argument("--store", required=True, help="the store's URL: artifacts of the run lie in its runs/RUN/artifacts")
    parser.add_argument(
        "--tracking-uri", default=os.environ.get("MLFLOW_TRACKING_URI"), help="MLflow; default: MLFLOW_TRACKING_URI"
    )
    parser.add_argument("--patience", type=float, default=_PATIENCE, help="seconds to keep trying after the run's process is gone")
    arguments = parser.parse_args()
    if not arguments.tracking_uri:
        parser.error("give --tracking-uri, or set MLFLOW_TRACKING_URI")
    os.nice(15)  # training comes first
    follow(arguments.spool, arguments.tracking_uri, arguments.store, patience=arguments.patience)


if __name__ == "__main__":
    main()
