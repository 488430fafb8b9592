"""Real S3 servers for tests, on loopback, ended with the test: Swift, light; Ceph, whose conditional puts are atomic.

Swift is installed once, from the package registry, into an environment of its own under `.cache`; Ceph comes as Debian packages
(`.ci/debian-packages`). Where one cannot be had, `Absent` says why, and the test skips.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from infra.processes import spawn_child

ROOT = Path(__file__).parent.parent
SWIFT = "2.38.3"
CEPH = ("ceph", "ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool", "radosgw", "radosgw-admin")
_CONFIGURATION = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}
mon initial members = a
public addr = 127.0.0.1
public network = 127.0.0.0/8
auth allow insecure global id reclaim = true
keyring = {folder}/keyring
run dir = {folder}/run
crash dir = {folder}/run
admin socket = {folder}/run/$name.$pid.asok
pid file = {folder}/run/$name.pid
log file = {folder}/log/$name.log
mon data = {folder}/mon
osd data = {folder}/osd
mon data avail crit = 1
mon data avail warn = 2
# One disk, in memory, without copies.
osd objectstore = memstore
memstore device bytes = 2147483648
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
[client.rgw]
rgw frontends = beast endpoint={host}:{port} tcp_nodelay=1
rgw dns name = localhost
rgw thread pool size = 32
rgw enable usage log = false
rgw enable quota threads = false
rgw enable gc threads = false
rgw run sync thread = false
"""
_MAY = {
    "mon.": ["--cap", "mon", "allow *"],
    "client.admin": ["--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"],
    "osd.0": ["--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"],
    "client.rgw": ["--cap", "mon", "allow *", "--cap", "osd", "allow *"],
}


class AbsentError(Exception):
    """The server cannot be had here, and why."""


@dataclass(frozen=True)
class S3Server:
    """Where it answers and with which keys; a bucket of its own is there."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str = "slipway"

    def env(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Makes it the S3 of this process and of those it starts."""
        for name, value in self.env().items():
            monkeypatch.setenv(name, value)

    def make_bucket(self) -> None:
        import boto3

        client = boto3.session.Session(self.access_key, self.secret_key, region_name="us-east-1").client(
            "s3", endpoint_url=self.endpoint
        )
        client.create_bucket(Bucket=self.bucket)


@contextmanager
def swift(folder: Path) -> Iterator[S3Server]:
    """Ready in about a second, 70 MB. Its conditional puts are not real."""
    python = _swift_python()
    port = _free_ports(4)
    server = [str(python), "-W", "ignore", str(ROOT / "tests/swift_server.py"), str(folder / "swift"), str(port)]
    with _running(server, folder / "swift.log"):
        made = S3Server(f"http://127.0.0.1:{port}", "test:tester", "testing")
        _await(made.endpoint, folder / "swift.log")
        made.make_bucket()
        yield made


@contextmanager
def ceph(folder: Path, host: str = "127.0.0.1") -> Iterator[S3Server]:
    """A monitor, a store in memory and the gateway: ready in about 13 seconds, 240 MB. Its conditional puts are atomic.

    host: the address of this machine at which the gateway answers.
    """
    if missing := [program for program in CEPH if shutil.which(program) is None]:
        raise AbsentError(
            f"no {', '.join(missing)} here: apt-get install --no-install-recommends ceph-mon ceph-osd ceph-mgr radosgw"
        )
    for part in ("mon", "osd", "run", "log"):
        (folder / part).mkdir(parents=True)
    port, mon_port, fsid, disk = _free_ports(1), _free_ports(1), str(uuid.uuid4()), str(uuid.uuid4())
    settings, keys, map_ = folder / "ceph.conf", str(folder / "keyring"), str(folder / "monmap")
    settings.write_text(_CONFIGURATION.format(fsid=fsid, folder=folder, host=host, port=port, mon_port=mon_port))
    use = ("-c", str(settings))

    _call("ceph-authtool", "--create-keyring", keys)
    for name, may in _MAY.items():
        _call("ceph-authtool", keys, "--gen-key", "-n", name, *may)
    _call("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon_port}]", map_)
    _call("ceph-mon", *use, "--mkfs", "-i", "a", "--keyring", keys, "--monmap", map_)
    with _running(("ceph-mon", *use, "-i", "a", "-f"), folder / "mon.log"):
        _call("ceph", *use, "--connect-timeout", "60", "osd", "new", disk)
        _call("ceph-osd", *use, "-i", "0", "--mkfs", "--osd-uuid", disk)
        with (
            _running(("ceph-osd", *use, "-i", "0", "-f"), folder / "osd.log"),
            _running(("radosgw", *use, "-n", "client.rgw", "-f"), folder / "rgw.log"),
        ):
            made = S3Server(f"http://{host}:{port}", "access", "secret")
            _await(made.endpoint, folder / "rgw.log")
            who = ("--uid=tests", "--display-name=tests", "--access-key=access", "--secret-key=secret")
            _call("radosgw-admin", *use, "-n", "client.rgw", "user", "create", *who)
            made.make_bucket()
            yield made


def _swift_python() -> Path:
    """The Python of an environment with Swift, made when it is not there."""
    home = ROOT / f".cache/swift-{SWIFT}"
    python = home / "bin/python"
    home.parent.mkdir(exist_ok=True)
    with FileLock(home.with_suffix(".lock")):
        if not (home / "installed").exists():
            shutil.rmtree(home, ignore_errors=True)
            try:
                _call(sys.executable, "-m", "venv", str(home))
                _call(str(python), "-m", "pip", "install", "--quiet", "--retries", "1", f"swift=={SWIFT}")
            except subprocess.CalledProcessError as error:
                raise AbsentError(f"Swift could not be installed: {error.stderr.strip()[-300:]}") from None
            (home / "installed").touch()
    return python


@contextmanager
def _running(argv: Sequence[str], log: Path) -> Iterator[None]:
    """A process that ends with the block, or with this process however it ends."""
    program = shutil.which(argv[0]) or argv[0]
    process = spawn_child([program, *argv[1:]], os.environ, log)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _call(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, text=True, timeout=180)


def _await(endpoint: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(endpoint, timeout=5):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{endpoint} does not answer: {log.read_text()[-2000:]}") from None
            time.sleep(0.1)


def _free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
        if port + count < 2**16 and all(_is_free(port + more) for more in range(count)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
