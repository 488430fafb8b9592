"""Machines for drills: each a host name, a network address, a file tree and a process tree of its own, on one kernel.

Linux namespaces, without a container engine: a machine is one process that holds them, so that killing it is a power cut, and
nothing is left of its network, mounts and processes however the test ends. It sees neither the checkout nor another's files.
"""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]
PROGRAMS = {"ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux", "mount": "mount"}
PYTHON = "/srv/slipway/bin/python"  # a machine's own environment, into which the wheel is installed
PACKAGES = "/srv/slipway/lib/python3.11/site-packages"
_RAY = f"#!{PYTHON}\nfrom ray.scripts.scripts import main\nmain()\n"  # the program that an installed Ray brings
_HIDDEN = ("/tmp", "/home", str(ROOT))
# As a machine comes up: file systems of its own over what it must not see, the libraries that a real one would install itself,
# and a name that leads to loopback, as Debian sets it up. Then it reaps whatever processes lose their parent.
_BOOT = """
set -e
name=$1 base=$2 libraries=$3; shift 3
mount --make-rprivate /
mount -t tmpfs tmpfs /srv
mkdir /srv/libraries /srv/base
mount --bind "$libraries" /srv/libraries
mount --bind "$base" /srv/base
for folder; do [ ! -d "$folder" ] || mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mkdir /tmp/home
printf '127.0.0.1 localhost\\n127.0.1.1 %s\\n' "$name" > /srv/hosts
mount --bind /srv/hosts /etc/hosts
hostname "$name"
ip link set lo up
/srv/base/bin/python3 -m venv --without-pip /srv/slipway
echo /srv/libraries > /srv/slipway/lib/python3.11/site-packages/libraries.pth
echo up
exec 1>&-
while :; do sleep 86400 & wait; done
"""


@dataclass(frozen=True)
class Machine:
    """One that is up. `pid`: of the process that holds it; `cable`: what joins it to the switch."""

    name: str
    address: str
    pid: int
    cable: str
    switch: int

    def run(self, *argv: str, env: Mapping[str, str], timeout: float = 300) -> "subprocess.CompletedProcess[str]":
        """A command, to its end. It has these variables alone, and PATH, HOME, LANG."""
        return subprocess.run(self._argv(argv, env), capture_output=True, text=True, timeout=timeout, check=False)

    def start(self, *argv: str, env: Mapping[str, str]) -> "subprocess.Popen[str]":
        return subprocess.Popen(self._argv(argv, env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def path(self, path: str) -> Path:
        """A file of the machine, as this process reaches it."""
        return Path(f"/proc/{self.pid}/root{path}")

    def cut(self) -> None:
        """Pulls the cable: packets are lost, and nobody is told."""
        self._cable("down")

    def heal(self) -> None:
        self._cable("up")

    def kill(self) -> None:
        """A power cut: every process ends at once, and the memory, in which all its files lie, is gone."""
        os.kill(self.pid, signal.SIGKILL)

    def processes(self, mark: str) -> list[psutil.Process]:
        """The machine's processes with `mark` in their command line."""
        holder = psutil.Process(self.pid)
        space = _space(self.pid)
        found = []
        for process in psutil.process_iter():
            try:
                if _space(process.pid) == space and process != holder and mark in " ".join(process.cmdline()):
                    found.append(process)
            except (OSError, psutil.Error):  # ended meanwhile
                continue
        return found

    def _cable(self, state: str) -> None:
        _in_network(self.switch, "ip", "link", "set", self.cable, state)

    def _argv(self, argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
        space = ["nsenter", f"--target={self.pid}", "--net", "--mount", "--uts", "--ipc", "--pid", "--wd=/tmp"]
        named = {"PATH": "/srv/slipway/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp/home", "LANG": "C.UTF-8", **env}
        return ["setpriv", "--pdeathsig", "KILL", *space, "env", "-i", *(f"{name}={value}" for name, value in named.items()), *argv]


class Network:
    """A switch and what is plugged into it: this host at `address`, and machines."""

    def __init__(self, stack: ExitStack, wheel: Path) -> None:
        self._stack, self._wheel = stack, wheel
        self._subnet = _free_subnet()
        self._plugged = 1
        self._switch = stack.enter_context(
            _holder("--net", script="ip link add bridge type bridge; ip link set bridge up; echo up; exec sleep infinity >&-")
        )
        self.address = f"{self._subnet}.1"
        cable = f"slipway{self._switch}"
        _call("ip", "link", "add", cable, "type", "veth", "peer", "name", "host", "netns", str(self._switch))
        _call("ip", "address", "add", f"{self.address}/24", "dev", cable)
        _call("ip", "link", "set", cable, "up")
        self._plug("host")

    def machine(self, name: str) -> Machine:
        """A new one, with an address of its own and Slipway installed from the wheel."""
        self._plugged += 1
        address, cable = f"{self._subnet}.{self._plugged}", f"port{self._plugged}"
        libraries = sysconfig.get_path("purelib")
        space = ("--net", "--mount", "--uts", "--ipc", "--pid", "--mount-proc")
        pid = self._stack.enter_context(_holder(*space, script=_BOOT, words=(name, sys.base_prefix, libraries, *_HIDDEN)))
        _in_network(self._switch, "ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        self._plug(cable)
        for words in (
            ("address", "add", f"{address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", self.address),
        ):
            _in_network(pid, "ip", *words)
        made = Machine(name, address, pid, cable, self._switch)
        shutil.copy(self._wheel, made.path("/tmp"))
        _install(made, self._wheel)
        return made

    def _plug(self, cable: str) -> None:
        _in_network(self._switch, "ip", "link", "set", cable, "master", "bridge", "up")


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    """An empty one, and a wheel of this checkout made in `folder`. Skips the test where namespaces cannot be had."""
    if os.getuid() != 0:
        pytest.skip("machines of their own need root: network and mount namespaces")
    if missing := sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None}):
        pytest.skip(f"machines of their own need: apt-get install {' '.join(missing)}")
    wheel = folder / next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"]))
    with ExitStack() as stack:
        try:
            made = Network(stack, wheel)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        yield made


@contextmanager
def _holder(*spaces: str, script: str, words: Sequence[str] = ()) -> Iterator[int]:
    """A process in namespaces of its own, which end with it; its pid, as seen from here, once the script says that it is up."""
    argv = ["setpriv", "--pdeathsig", "KILL", "unshare", *spaces, "--fork", "--kill-child=KILL", "sh", "-c", script, "sh", *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "up\n":
                process.kill()
                raise subprocess.CalledProcessError(1, argv, stderr=process.communicate()[1])
            (child,) = psutil.Process(process.pid).children()
            yield child.pid
        finally:
            process.kill()


def _install(machine: Machine, wheel: Path) -> None:
    ray = machine.path("/srv/slipway/bin/ray")
    ray.write_text(_RAY)
    ray.chmod(0o755)
    done = machine.run(PYTHON, "-m", "pip", "install", "--no-index", "--no-deps", f"/tmp/{wheel.name}", env={})
    assert done.returncode == 0, done.stderr


def _free_subnet() -> str:
    """Of those kept for trials between networks (RFC 2544), so that no real host is meant."""
    taken = _call("ip", "-o", "address")
    return next(subnet for number in range(os.getpid() % 200, 255) if f" {(subnet := f'198.18.{number}')}." not in taken)


def _space(pid: int) -> Path:
    """In which tree of processes this one is."""
    return Path(f"/proc/{pid}/ns/pid").readlink()


def _in_network(pid: int, *argv: str) -> str:
    return _call("nsenter", f"--target={pid}", "--net", *argv)


def _call(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout
