"""Who acts: what the ledger writes beside a decision. Where copies of a bucket's files are."""

import getpass
import socket
from pathlib import Path

import pytest

from infra.settings import Settings
from infra.store.cache import Cache
from infra.store.errors import InputError


def test_who_acts_is_the_variable_or_the_login_and_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_USER", "ann@quay")
    assert Settings.load().user == "ann@quay"
    monkeypatch.delenv("SLIPWAY_USER")
    monkeypatch.setenv("LOGNAME", "bob")
    assert Settings.load().user == f"bob@{socket.gethostname()}"


def test_a_user_without_a_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4242")

    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setattr("os.getuid", lambda: 4242)
    assert Settings.load().user == f"uid-4242@{socket.gethostname()}"


def test_the_cache_is_in_the_home_unless_it_is_said_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    assert (Settings.load().cache, Settings.load().cache_gb) == (Cache.here().folder, Cache.here().limit / 1e9)
    assert Settings.load().cache == tmp_path / "home/cache"
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path / "disk"))
    monkeypatch.setenv("SLIPWAY_CACHE_GB", "12.5")
    assert (Settings.load().cache, Settings.load().cache_gb) == (Cache.here().folder, Cache.here().limit / 1e9)
    assert Settings.load().environment()["SLIPWAY_CACHE"] == str(tmp_path / "disk")
    monkeypatch.setenv("SLIPWAY_CACHE_GB", "0")
    with pytest.raises(InputError, match="SLIPWAY_CACHE_GB"):
        Settings.load()
