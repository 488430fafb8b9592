"""The processes of one target: the proxy and a server in each slot, found by their marks even when nothing recorded them."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil

from infra.processes import answers, last_line, marked, reserve_port, spawn_service, stop
from infra.store.liveness import Process, is_alive
from infra.targets import haproxy
from infra.targets.errors import TargetError
from infra.targets.record import Record, Release
from infra.targets.server import Command, environment

_FIRST_PORT: Final = 8080
_PORTS: Final = 200
_PROXY_PATIENCE: Final = 10.0  # seconds within which HAProxy, which needs milliseconds, has to listen
PROXY: Final = "haproxy"


class Processes:
    """What runs for a target. folder: `<home>/targets/<name>`, where their logs are."""

    def __init__(self, home: Path, folder: Path, command: Command) -> None:
        self.folder = folder
        self._command = command
        self._mark = f"{home}:target:{folder.name}"

    def log(self, part: str) -> Path:
        return self.folder / f"{part}.log"

    def running(self, part: str) -> list[psutil.Process]:
        """The living processes of a slot, or of the proxy."""
        return marked(f"{self._mark}:{part}")

    def end(self, part: str, grace: float) -> int:
        """Ends them: SIGTERM, on which a server ends what it has begun, and after `grace` seconds SIGKILL."""
        return stop(self.running(part), grace)

    def start_server(self, slot: str, release: Release, drain_seconds: int) -> tuple[int, Process]:
        """A server on a free port, in the place of whatever still carries the slot's mark."""
        self.end(slot, grace=1.0)
        with reserve_port() as held:  # nobody else gets the port before the server has it
            port = int(held.getsockname()[1])
            argv = self._command(release, port, drain_seconds)
            return port, spawn_service(argv, environment(), self.log(slot), f"{self._mark}:{slot}")

    def start_proxy(self, record: Record) -> Process:
        """HAProxy on the target's port, pointed at the server that is meant to answer, if that lives."""
        self.end(PROXY, grace=1.0)
        if answers(record.port):
            raise TargetError(
                f"port {record.port} of this target is taken by somebody else",
                where=record.name,
                mend="End whoever listens there, then try again; clients know the target by this port.",
            )
        server = record.server
        alive = server is not None and is_alive(server.process)
        slots = {record.active: haproxy.Slot(record.active, server.port, "ready")} if server and alive else {}
        (self.folder / "haproxy.cfg").write_text(haproxy.configuration(record.port, slots))
        argv = haproxy.command("haproxy.cfg")
        process = spawn_service(argv, environment(), self.log(PROXY), f"{self._mark}:{PROXY}")
        deadline = time.monotonic() + _PROXY_PATIENCE
        while not haproxy.Runtime(self.folder).answers():
            if not is_alive(process) or time.monotonic() > deadline:
                log = self.log(PROXY)
                raise TargetError(f"HAProxy does not start: {last_line(log)}", where=str(log), mend="Mend what the log says.")
            time.sleep(0.02)
        return process

    def note(self, event: str, **facts: Any) -> None:
        """A line in `rollouts.jsonl`: what was tried here, and what came of it."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts}
        with (self.folder / "rollouts.jsonl").open("a") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def last_note(self) -> dict[str, Any] | None:
        try:
            found = json.loads(last_line(self.folder / "rollouts.jsonl") or "null")
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


def next_free_port(taken: set[int]) -> int:
    """The first port from 8080 on that nobody listens on, and that is no other target's."""
    for port in range(_FIRST_PORT, _FIRST_PORT + _PORTS):
        if port not in taken and not answers(port):
            with reserve_port(port) as held:
                if held.fileno() < 0 or int(held.getsockname()[1]) == port:
                    return port
    raise TargetError(f"no free port from {_FIRST_PORT} on", where="127.0.0.1", mend="End some of the servers on this machine.")
