"""`slipway doctor`: what a run would stumble over on this machine, each with its mend."""

import importlib
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from packaging.requirements import Requirement

from flows.cli.output import emit, size
from infra import services
from infra.settings import Settings
from infra.store import open_store
from infra.store.errors import SlipwayError
from infra.store.lease import Holder
from infra.tracking.spool import pending, writer_is_gone

_DISTRIBUTION = "slipway-llm"
_ROOM = 2_000_000_000  # bytes: a small run with its checkpoints, and the databases
_SHIPPING = 600.0  # seconds within which a run that ended is shipped in the ordinary course of things


@dataclass(frozen=True)
class Check:
    """What was looked at and found; `mend` is a sentence where it is not well."""

    name: str
    ok: bool
    found: str
    mend: str = ""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> int:
    """Check this machine and the services; every finding names its mend. Exit 1 when something is not well."""
    settings = Settings.load()
    checks = [_safely(name, look, settings) for name, look in CHECKS.items()]
    well = all(check.ok for check in checks)
    emit({"ok": well, "checks": [asdict(check) for check in checks]}, as_json, lambda: _text(checks))
    return 0 if well else 1


def _safely(name: str, look: Callable[[Settings], Check], settings: Settings) -> Check:
    try:
        return look(settings)
    except SlipwayError as error:
        return Check(name, False, f"{error.where}: {error.what}" if error.where else error.what, error.mend)
    except Exception as error:  # whatever is broken here is what the doctor is asked for
        return Check(name, False, f"{type(error).__name__}: {error}", "Make the environment anew: `make clean install`.")


def _text(checks: list[Check]) -> str:
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<{width}}  {check.found}")
        if not check.ok:
            lines.append(f"{'':<{width + 8}}{check.mend}")
    failed = sum(not check.ok for check in checks)
    return "\n".join([*lines, "", f"{failed} of {len(checks)} checks failed." if failed else "All is well."])


def _python(settings: Settings) -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    mend = "Make the environment anew with Python 3.11: `make clean install`."
    return Check("python", sys.version_info[:2] == (3, 11), f"{version} in {sys.prefix}", mend)


def _rooms(settings: Settings) -> Check:
    ours = Path(__file__).parents[2]
    files = {name: importlib.import_module(name).__file__ or "" for name in ("llm", "infra", "flows", "dashboards")}
    strange = [file for file in files.values() if Path(file).parents[1] != ours]
    mend = "Install Slipway into an environment of its own (`make install`)."
    return Check("rooms", not strange, f"{strange[0]} is not ours" if strange else f"llm, infra, flows, dashboards in {ours}", mend)


def _packages(settings: Settings) -> Check:
    required = [Requirement(line) for line in metadata.requires(_DISTRIBUTION) or []]
    wanted = [each for each in required if each.marker is None or each.marker.evaluate({"extra": ""})]
    wrong = [trouble for each in wanted if (trouble := _trouble(each))]
    main = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "prefect", "mlflow", "ray") if not wrong)
    return Check("packages", not wrong, "; ".join(wrong) or f"{len(wanted)} as required: {main}", "Run `make install`.")


def _trouble(requirement: Requirement) -> str:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    return (
        ""
        if requirement.specifier.contains(version, prereleases=True)
        else f"{requirement.name} {version} is not {requirement.specifier}"
    )


def _torch(settings: Settings) -> Check:
    import torch  # 2 to 4 s; last, so that a broken one hides nothing else

    if torch.cuda.is_available():
        found = f"{torch.__version__}, {torch.cuda.device_count()} × {torch.cuda.get_device_name(0)}"
    else:
        found = f"{torch.__version__}, no GPU: {torch.get_num_threads()} threads of the processor"
    return Check(
        "torch", float(torch.ones(2, 2).matmul(torch.ones(2, 2)).sum()) == 8.0, found, "Install torch again: `make clean install`."
    )


def _home(settings: Settings) -> Check:
    nearest = _nearest(settings.home)
    writable = os.access(nearest, os.W_OK | os.X_OK)
    said = "SLIPWAY_HOME" if "SLIPWAY_HOME" in os.environ else "found" if settings.home.is_dir() else "not made yet"
    mend = "Set SLIPWAY_HOME to a folder that can be written."
    return Check("home", writable, f"{settings.home} ({said})" + ("" if writable else ", cannot be written"), mend)


def _store(settings: Settings) -> Check:
    open_store(settings.store).check_writable()
    return Check("store", True, settings.store)


def _disk(settings: Settings) -> Check:
    folder = _nearest(settings.home)
    free = shutil.disk_usage(folder).free
    return Check("disk", free >= _ROOM, f"{size(free)} free at {folder}", f"Make room: a small run takes up to {size(_ROOM)}.")


def _services(settings: Settings) -> Check:
    states = services.state(settings)
    ok = {each.state for each in states} in ({"running"}, {"not started"})
    found = ", ".join(f"{each.name} {each.state}" for each in states)
    return Check("services", ok, found, "`slipway up` replaces what does not work; `slipway down` clears it away.")


def _prefect(settings: Settings) -> Check:
    if settings.prefect_api_url:
        found, ok = f"flows run under {settings.prefect_api_url}", _is_healthy(f"{settings.prefect_api_url.rstrip('/')}/health")
        return Check(
            "prefect", ok, found + ("" if ok else ", which does not answer"), "Start that server, or unset PREFECT_API_URL."
        )
    profiles = settings.home / "prefect" / "profiles.toml"
    clean = not profiles.is_file() or "PREFECT_API_" not in profiles.read_text()
    found = "own home, your profiles and accounts are not read" if clean else f"{profiles} names another server"
    return Check("prefect", clean, found, f"Remove {profiles}.")


def _mlflow(settings: Settings) -> Check:
    uri = settings.mlflow_tracking_uri
    if not uri or not uri.startswith("http"):
        return Check("mlflow", True, uri or "the local database, or the server of `slipway up`")
    ok = _is_healthy(f"{uri.rstrip('/')}/health")
    host = uri.rpartition("@")[2]  # the rest may hold a password
    return Check("mlflow", ok, host + ("" if ok else " does not answer"), "Start that server, or unset MLFLOW_TRACKING_URI.")


def _spool(settings: Settings) -> Check:
    waiting = [path for path in pending(settings.spool) if writer_is_gone(path)]
    late = [path for path in waiting if time.time() - path.stat().st_mtime > _SHIPPING]
    found = f"{len(waiting)} runs not shipped to MLflow yet" if waiting else "every ended run is shipped to MLflow"
    mend = "The next training ships them; ship.log beside them says what was in the way."
    return Check("spool", not late, f"{found} ({late[0]})" if late else found, mend)


def _leases(settings: Settings) -> Check:
    store = open_store(settings.store)
    records = [json.loads(store.read(entry.name)) for entry in store.list("leases")]
    held = [Holder.read(record) for record in records if not record["released"] and record["expires"] > time.time()]
    left = [holder for holder in held if holder.is_dead()]
    found = f"{len(held) - len(left)} held"
    if left:  # no trouble: whoever needs it next takes it over at once
        found += f", {len(left)} left by a killed run, free for the next"
    return Check("leases", True, found)


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)  # it is there, and asks who we are
    except (OSError, ValueError):
        return False


def _nearest(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


CHECKS: dict[str, Callable[[Settings], Check]] = {
    "python": _python,
    "rooms": _rooms,
    "packages": _packages,
    "home": _home,
    "store": _store,
    "disk": _disk,
    "services": _services,
    "prefect": _prefect,
    "mlflow": _mlflow,
    "spool": _spool,
    "leases": _leases,
    "torch": _torch,
}
