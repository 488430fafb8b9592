"""The services of docker-compose.yml from packages, where no container engine is: its commands, variables, mounts, health checks.

One network and mount namespace stands for the engine's network: every service has its name there and an address of its own, and
nothing of it is left when the holder of the namespace ends. What an image brings is done here: its programs, PostgreSQL's start.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.programs import COMPOSE, SEAWEEDFS, AbsentError, installed

ROOT = Path(__file__).parents[2]
_POSTGRES: Final = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
_PROGRAMS: Final = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "ip": "iproute2",
    "prometheus": "prometheus",
    "wget": "wget",
}
_RESTARTS: Final = (
    2  # of a service until it is well: Ray gives up where a machine is so busy that a node needs half a minute to start
)
_SPACES: Final = ("--net", "--mount", "--pid")
_IMAGE: Final = {"/opt/slipway/worker.sh": ROOT / "infra/docker/worker.sh"}
# Names stand in a file: a name server out of reach would be waited for. Two ends of a cable: what has an address is reached, and
# Gloo finds its eth0. Ray's folder is one of its own.
_BOOT: Final = """
set -e
mount --make-rprivate /
mount --bind "$1" /etc/hosts
mount --bind "$3" /etc/resolv.conf
mkdir -p /tmp/ray
mount -t tmpfs -o mode=1777 tmpfs /tmp/ray
ip link set lo up
ip link add eth0 type veth peer name eth1
for address in $2; do ip address add "$address/24" dev eth0; done
ip link set eth0 up
ip link set eth1 up
ip route add default dev eth0
echo up
exec 1>&-
while :; do sleep 86400 & wait; done
"""


@dataclass
class Composed:
    """The cluster. `services`: as Compose resolved them, every variable filled in with the secrets of `folder`/.env."""

    folder: Path
    services: dict[str, dict[str, Any]]
    secrets: dict[str, str]
    _space: int = 0
    _running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    _restarts: dict[str, int] = field(default_factory=dict)

    def start(self, *names: str, seconds: float = 400) -> None:
        """Starts services, what they depend on first, and returns when the health check of each passes."""
        for name in names:
            if name not in self._running:
                self.start(*self.services[name].get("depends_on", {}), seconds=seconds)
                self._start(name)
        for name in names:
            self._await(name, time.monotonic() + seconds)

    def run(self, name: str, *argv: str, timeout: float = 300) -> "subprocess.CompletedProcess[str]":
        """As `docker compose exec NAME ARGV`."""
        return subprocess.run(
            self._argv(name, argv), cwd=self._home(name), capture_output=True, text=True, timeout=timeout, check=False
        )

    def volume(self, name: str) -> Path:
        folder: Path = self.folder / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log(self, name: str) -> str:
        return (self.folder / "logs" / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        for process in reversed(self._running.values()):
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)

    def _start(self, name: str) -> None:
        home = self._home(name)
        home.mkdir(parents=True, exist_ok=True)
        if name == "postgres":
            self._first_start()
        self._spawn(name)

    def _spawn(self, name: str) -> None:
        home, command = self._home(name), self._program(name)
        log = (self.folder / "logs" / f"{name}.log").open("ab")
        self._running[name] = subprocess.Popen(
            self._argv(name, command), cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        log.close()

    def _program(self, name: str) -> list[str]:
        said = self.services[name].get("command") or []
        if name == "postgres":
            return self._as_postgres(
                "postgres", "-D", str(self.volume("postgres")), "-k", str(self.folder / "socket"), "-c", "listen_addresses=*"
            )
        if name == "store":
            return [str(installed(*SEAWEEDFS)), *said]
        return ["prometheus", *said] if name == "prometheus" else list(said)

    def _await(self, name: str, deadline: float) -> None:
        check = self.services[name]["healthcheck"]["test"]
        assert check[0] == "CMD"
        while True:
            checked = self.run(name, "timeout", "60", *check[1:])
            if checked.returncode == 0:
                return
            if (ended := self._running[name].poll()) is not None:
                assert self._restarts.get(name, 0) < _RESTARTS, f"{name} ended with {ended}: {self.log(name)[-3000:]}"
                self._restarts[name] = self._restarts.get(name, 0) + 1
                self._spawn(name)  # restart: unless-stopped
            assert time.monotonic() < deadline, f"{name} is not well: {checked.stderr[-1000:]}\n{self.log(name)[-3000:]}"
            time.sleep(0.2)

    def _first_start(self) -> None:
        """What PostgreSQL's image does with an empty folder: its owner's password, then the scripts that are mounted for it."""
        data, password, socket = self.volume("postgres"), self.folder / "password", self.folder / "socket"
        socket.mkdir()
        password.write_text(self.services["postgres"]["environment"]["POSTGRES_PASSWORD"])
        for path in (data, password, socket):
            shutil.chown(path, "postgres", "postgres")
        self._do(
            "initdb",
            "-D",
            str(data),
            "-U",
            "postgres",
            "-A",
            "scram-sha-256",
            "--auth-local=trust",
            f"--pwfile={password}",
            "-E",
            "UTF8",
        )
        alone = f"-c listen_addresses= -k {socket} -c fsync=off"
        self._do("pg_ctl", "-D", str(data), "-o", alone, "-w", "-l", str(socket / "first.log"), "start")
        scripts = [mount["source"] for mount in self.services["postgres"]["volumes"] if "initdb.d" in mount["target"]]
        assert scripts
        for script in scripts:
            done = self.run("postgres", *self._as_postgres("env", f"PGHOST={socket}", "bash", script))
            assert done.returncode == 0, done.stderr
        self._do("pg_ctl", "-D", str(data), "-w", "stop")
        # As the image leaves it: from elsewhere, with a password.
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")

    def _do(self, *argv: str) -> None:
        done = self.run("postgres", *self._as_postgres(*argv))
        assert done.returncode == 0, done.stderr + done.stdout

    @staticmethod
    def _as_postgres(*argv: str) -> list[str]:
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *argv]

    def _argv(self, name: str, argv: Sequence[str]) -> list[str]:
        path = [Path(sys.executable).parent, *_POSTGRES[-1:], "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        env = {"PATH": ":".join(map(str, path)), "HOME": str(self._home(name)), "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
        env["PYTHONPATH"] = str(ROOT)  # the image has this checkout installed
        env |= {key: self._placed(name, str(value)) for key, value in (self.services[name].get("environment") or {}).items()}
        space = ["nsenter", f"--target={self._space}", *_SPACES, f"--wd={self._home(name)}"]
        words = [self._placed(name, word) for word in argv]
        return ["setpriv", "--pdeathsig", "KILL", *space, "env", "-i", *(f"{key}={value}" for key, value in env.items()), *words]

    def _home(self, name: str) -> Path:
        return self.folder / "containers" / name / "home/slipway"

    def _placed(self, name: str, text: str) -> str:
        """A path of the container as the place on this machine that stands for it."""
        mounts: list[dict[str, Any]] = self.services[name].get("volumes", [])
        targets: dict[str, Path] = {mount["target"]: self._source(name, mount) for mount in mounts} | _IMAGE
        for target in sorted(targets, key=len, reverse=True):
            if target in text:
                return text.replace(target, str(targets[target]))
        return text

    def _source(self, name: str, mount: Mapping[str, Any]) -> Path:
        source: Path = Path(mount["source"]) if mount["type"] == "bind" else self.volume(mount["source"])
        target = str(mount["target"])
        if not target.startswith("/home/slipway/"):
            return source
        inside = self.folder / "containers" / name / target.lstrip("/")  # where a home lies tells what is beside it
        if not inside.is_symlink():
            inside.parent.mkdir(parents=True, exist_ok=True)
            inside.symlink_to(source)
        return inside


@contextmanager
def composed(folder: Path, **settings: str) -> Iterator[Composed]:
    """The cluster, nothing of it started yet. settings: of .env, beside the secrets. Skips the test where it cannot be had."""
    if os.getuid() != 0:
        pytest.skip("the cluster needs root here: a network of its own, and PostgreSQL's user")
    missing = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    if missing or not _POSTGRES:
        pytest.skip(
            f"the cluster needs: apt-get install --no-install-recommends {' '.join(missing)}{' postgresql' * (not _POSTGRES)}"
        )
    try:
        compose, _ = installed(*COMPOSE), installed(*SEAWEEDFS)
    except AbsentError as error:
        pytest.skip(str(error))
    (folder / "logs").mkdir()
    folder.chmod(0o755)
    _secrets(folder, settings)
    command = [str(compose), "--project-directory", str(ROOT), "--env-file", str(folder / ".env"), "config", "--format", "json"]
    done = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    secrets = dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines() if "=" in line and line[0] != "#")
    with ExitStack() as stack:
        # Ray's nodes take the first address of the machine for theirs, and the head is asked for by its name.
        space = stack.enter_context(_namespace(folder, sorted(services, key=lambda name: name != "ray-head")))
        made = Composed(folder, services, secrets, space)
        stack.callback(made.stop)
        yield made


def _secrets(folder: Path, settings: Mapping[str, str]) -> None:
    checkout = folder / "checkout"
    (checkout / "infra/docker").mkdir(parents=True)
    for name in (".env.example", "infra/docker/secrets.sh"):
        shutil.copy(ROOT / name, checkout / name)
    subprocess.run(["bash", "infra/docker/secrets.sh"], cwd=checkout, check=True, capture_output=True)
    said = "".join(f"{name}={value}\n" for name, value in settings.items())
    (folder / ".env").write_text((checkout / ".env").read_text() + said)


@contextmanager
def _namespace(folder: Path, names: list[str]) -> Iterator[int]:
    addresses = [f"198.19.0.{number}" for number in range(1, len(names) + 1)]  # kept for trials (RFC 2544)
    lines = [f"{address} {name}" for address, name in zip(addresses, names, strict=True)]
    (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
    spaces = ["unshare", *_SPACES, "--mount-proc", "--fork", "--kill-child=KILL", "sh", "-c", _BOOT, "sh"]
    (folder / "resolv.conf").touch()
    words = (str(folder / "hosts"), " ".join(addresses), str(folder / "resolv.conf"))
    argv = ["setpriv", "--pdeathsig", "KILL", *spaces, *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            if holder.stdout.readline() != "up\n":
                holder.kill()
                pytest.skip(f"no network namespace here: {holder.communicate()[1].strip()}")
            yield int(Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()[0])
        finally:
            holder.kill()
