"""OpenStack Swift with its S3 API in one process, on loopback. Run by the Python of an environment that has `swift` alone.

    python swift_server.py FOLDER PORT

takes PORT to PORT + 3 and says "ready" when it answers, after about a second. Its keys are `test:tester` and `testing`. FOLDER
needs extended attributes, which ext4 and tmpfs have. The settings are Swift's own for one disk, without replicas.
"""

import getpass
import os
import signal
import sys
from pathlib import Path

import eventlet  # type: ignore[import-not-found]
from swift.common.utils import monkey_patch  # type: ignore[import-not-found]

monkey_patch()  # before anything opens a socket

from eventlet import wsgi  # noqa: E402
from swift.common import storage_policy, utils  # type: ignore[import-not-found]  # noqa: E402
from swift.common.ring import RingBuilder  # type: ignore[import-not-found]  # noqa: E402
from swift.common.utils import config as swift_config  # noqa: E402
from swift.common.wsgi import SwiftHttpProtocol, loadapp  # type: ignore[import-not-found]  # noqa: E402

HOST = "127.0.0.1"
FILTERS = ["catch_errors", "gatekeeper", "healthcheck", "cache", "listing_formats", "bulk", "s3api", "tempauth", "slo", "dlo"]
SETTINGS = {
    "cache": {"use": "egg:swift#memcache"},
    "s3api": {"location": "us-east-1", "s3_acl": "false", "dns_compliant_bucket_names": "false"},
    "tempauth": {"user_test_tester": "testing .admin"},
}


def section(name: str, settings: dict[str, object]) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in settings.items()), "", ""])


def write_settings(folder: Path, port: int) -> dict[str, int]:
    """The files that Swift reads, and the port of each of its four servers."""
    etc, disk = folder / "etc", folder / "disks/one"
    for made in (etc, disk):
        made.mkdir(parents=True, exist_ok=True)
    (etc / "swift.conf").write_text(
        section("swift-hash", {"swift_hash_path_prefix": "tests", "swift_hash_path_suffix": "tests"})
        + section("storage-policy:0", {"name": "one", "default": "yes"})
    )
    ports = {"object": port + 1, "container": port + 2, "account": port + 3, "proxy": port}
    for server, own in ports.items():
        common = {"bind_ip": HOST, "bind_port": own, "user": getpass.getuser(), "swift_dir": etc, "devices": disk.parent}
        common |= {"mount_check": "false", "disable_fallocate": "true", "workers": 0, "log_address": folder / "no-log"}
        text = section("DEFAULT", common)
        if server == "proxy":
            text += section("pipeline:main", {"pipeline": " ".join([*FILTERS, "proxy-server"])})
            text += section("app:proxy-server", {"use": "egg:swift#proxy", "account_autocreate": "true"})
            for name in FILTERS:
                text += section(f"filter:{name}", {"use": f"egg:swift#{name}", **SETTINGS.get(name, {})})
        else:
            text += section("pipeline:main", {"pipeline": f"{server}-server"})
            text += section(f"app:{server}-server", {"use": f"egg:swift#{server}", "fallocate_reserve": 0})
            ring = RingBuilder(6, 1, 1)  # 64 partitions, one replica, moved when one likes
            at = {"ip": HOST, "port": own, "replication_ip": HOST, "replication_port": own}
            ring.add_dev({"region": 1, "zone": 1, "device": disk.name, "weight": 1, **at})
            ring.rebalance()
            ring.get_ring().save(str(etc / f"{server}.ring.gz"))
        (etc / f"{server}-server.conf").write_text(text)
    return ports


class Silent:
    """Nobody reads a log of requests."""

    def write(self, *_: object) -> None: ...

    def flush(self) -> None: ...


def serve(folder: Path, port: int) -> None:
    ports = write_settings(folder, port)
    swift_config.SWIFT_CONF_FILE = utils.SWIFT_CONF_FILE = str(folder / "etc/swift.conf")
    utils.validate_hash_conf()
    storage_policy.reload_storage_policies()
    running = []
    for server, own in ports.items():  # the proxy last: it asks the others
        app = loadapp(str(folder / f"etc/{server}-server.conf"), global_conf={"log_name": server})
        listening = eventlet.listen((HOST, own), backlog=1024)
        options = {"protocol": SwiftHttpProtocol, "capitalize_response_headers": False}
        running.append(eventlet.spawn(wsgi.server, listening, app, log=Silent(), log_output=False, debug=False, **options))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print("ready", flush=True)  # noqa: T201
    running[-1].wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]).resolve(), int(sys.argv[2]))
