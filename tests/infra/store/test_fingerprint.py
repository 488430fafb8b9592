"""Fingerprints: what bears on a result is in them, what does not cannot get in."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel

from infra.store.fingerprint import RUNTIME, NoIdentityError, canonical, fingerprint, identity


class Color(Enum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    workers: Annotated[int, RUNTIME] = 0


@dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    names: tuple[str, ...] = ("a", "b")
    color: Color = Color.RED
    path: Annotated[Path, RUNTIME] = Path("here")


class Model(BaseModel):
    steps: int = 3
    workers: Annotated[int, RUNTIME] = 1


def test_runtime_fields_do_not_bear_on_the_fingerprint() -> None:
    assert fingerprint(Outer()) == fingerprint(replace(Outer(), inner=Inner(workers=8), path=Path("/elsewhere")))
    assert fingerprint(Model()) == fingerprint(Model(workers=64))


def test_every_other_field_does() -> None:
    changed = [replace(Outer(), inner=Inner(rate=0.6)), replace(Outer(), names=("b", "a")), Outer(names=("ab",))]
    assert len({fingerprint(value) for value in [Outer(), *changed]}) == 4
    assert fingerprint(Model(steps=4)) != fingerprint(Model())


def test_a_fingerprint_never_changes_between_versions() -> None:
    assert canonical(Outer()) == b'{"color":"red","inner":{"rate":0.5},"names":["a","b"]}'
    assert fingerprint({"b": 1, "a": [None, True, 1.0]}) == "6bb6663061cacdd93bc5a6ff1ef42efec397df821c4c22905d65fb4ea7c28b73"


def test_one_and_one_point_zero_are_one_setting() -> None:
    assert fingerprint({"lr": 1}) == fingerprint({"lr": 1.0})


def test_a_day_has_an_identity_and_a_time_has_none() -> None:
    assert identity({"until": date(2027, 1, 31)}) == {"until": "2027-01-31"}
    with pytest.raises(NoIdentityError):
        identity(datetime(2027, 1, 31, tzinfo=UTC))


@pytest.mark.parametrize("value", [Path("/tmp"), object(), {1: "x"}, {"a": {2, 3}}, float("nan"), b"bytes", len])
def test_what_has_no_identity_is_an_error_that_names_the_place(value: object) -> None:
    with pytest.raises(NoIdentityError, match=r"settings\.deep\[0\]"):
        identity({"deep": [value]}, "settings")
