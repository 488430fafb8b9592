"""Who acts: what the ledger writes beside a decision."""

import getpass
import socket

import pytest

from infra.settings import Settings


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
