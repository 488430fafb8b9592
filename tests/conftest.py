"""What every test stands on: an environment of its own, so that none reads or writes the user's, and no telemetry."""

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from infra.store.folder import FolderStore
from tests import s3_server
from tests.s3_server import S3Server

ROOT = Path(__file__).parent.parent
_SESSION = "SLIPWAY_TEST_SESSION"  # the first process makes the folder, the workers of pytest-xdist inherit it
_THEIRS = ("PREFECT_", "MLFLOW_", "RAY_", "SLIPWAY_", "AWS_", "HF_", "DATABRICKS_", "GX_", "XDG_")
_KEPT = (_SESSION, "SLIPWAY_TEST_DATA", "SLIPWAY_BENCH_PYTHON", "AWS_CA_BUNDLE")


def _isolate() -> Path:
    """Sets the environment of this process and of all it starts. Runs before anything imports torch."""
    session = Path(os.environ.get(_SESSION) or tempfile.mkdtemp(prefix="slipway-tests-"))
    worker = session / os.environ.get("PYTEST_XDIST_WORKER", "main")
    home = worker / "home"
    home.mkdir(parents=True, exist_ok=True)
    for name in list(os.environ):
        if name.startswith(_THEIRS) and name not in _KEPT:
            del os.environ[name]
    os.environ |= {
        _SESSION: str(session),
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local/share"),
        "SLIPWAY_HOME": str(home / ".slipway"),
        "PREFECT_HOME": str(home / ".prefect"),
        "HF_HOME": str(home / "huggingface"),
        "MPLCONFIGDIR": str(ROOT / ".cache/matplotlib"),  # its font cache takes seconds to make: kept between sessions
        "MPLBACKEND": "Agg",
        # No dependency calls home.
        "DO_NOT_TRACK": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else Ray's workers install an environment of their own
        # The workers of pytest-xdist share the cores: one thread each is faster than all in each.
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }
    return session


SESSION = _isolate()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a job in a shell's background: what the tests start would not hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tells a failure at once: drills that are cut off still say what failed."""
    report = yield
    terminal = item.config.pluginmanager.get_plugin("terminalreporter")
    if report.failed and terminal is not None and not item.config.getoption("numprocesses", None):
        terminal.write_line(f"\n{report.nodeid}, {report.when}, after {report.duration:.0f} s\n{report.longreprtext}")
    return report


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # only the first process cleans up
        shutil.rmtree(SESSION, ignore_errors=True)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The shared data sets: real text, not part of the repository. SLIPWAY_TEST_DATA says where they are."""
    folder = Path(os.environ.get("SLIPWAY_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; SLIPWAY_TEST_DATA names another folder")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """An empty store in a folder."""
    return FolderStore(tmp_path / "store")


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server, light, whose conditional puts are not real."""
    yield from _served(s3_server.swift, tmp_path_factory.mktemp("swift"))


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server whose conditional puts are atomic."""
    yield from _served(s3_server.ceph, tmp_path_factory.mktemp("ceph"))


def _served(start: Callable[[Path], AbstractContextManager[S3Server]], folder: Path) -> Iterator[S3Server]:
    try:
        with start(folder) as server:
            yield server
    except s3_server.AbsentError as error:
        pytest.skip(str(error))


@pytest.fixture
def free_port() -> int:
    """A port of the loopback address that nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
