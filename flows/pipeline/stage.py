"""A stage: one unit of the pipeline, with settings and inputs that make its key, and work that makes its outputs."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from infra.settings import Settings
from infra.store.fingerprint import fingerprint, identity
from infra.store.manifest import Thing
from infra.store.protocol import Store
from llm.events import Observer


@dataclass(frozen=True)
class Reference:
    """A finished thing by its place and its content version. Only the version bears on a key."""

    prefix: str
    version: str


@dataclass(frozen=True)
class Pending:
    """An output that a plan cannot know yet: `stage` has to run first."""

    stage: str


Input = Reference | Pending | str  # a string is a content version alone, of something outside the store


@dataclass(frozen=True)
class Stage:
    """What is to be done. `work` is a function of (Job, settings), named and not imported: a plan loads nothing heavy.

    settings: any value `infra.store.fingerprint.identity` takes; its RUNTIME fields do not bear on the key.
    needs: looks, before anything is started, whether this machine has what the work needs.
    preflight: looks, before anything is started, at what the work would stumble over, and says what a person should know; gets
    the ids of earlier attempts.
    gone: says why a recorded result is no longer there, where the store alone cannot tell.
    decides: whether the work decides on something, so that a no (RefusedError), or waiting for a person (AwaitingReviewError),
    is an answer: other stages go on, and the flow ends with it.
    awaits: says for what a person is waited, where a plan can know it.
    """

    name: str
    work: str
    settings: Any
    inputs: Mapping[str, Input] = field(default_factory=dict)
    needs: Callable[[Settings], None] = lambda settings: None
    preflight: Callable[[Store, tuple[str, ...]], Sequence[str]] = lambda store, runs: ()
    gone: Callable[[Mapping[str, Any]], str] = lambda result: ""
    decides: bool = False
    awaits: Callable[[], str] = lambda: ""

    @property
    def waits_for(self) -> tuple[str, ...]:
        """The stages whose outputs are not known yet."""
        return tuple(given.stage for given in self.inputs.values() if isinstance(given, Pending))

    def identity(self) -> dict[str, Any]:
        """What the key is a hash of; kept in the record, so that a difference can be shown field by field."""
        inputs = {name: given.version if isinstance(given, Reference) else given for name, given in self.inputs.items()}
        return {"stage": self.name, "settings": identity(self.settings, "settings"), "inputs": inputs}

    def key(self) -> str:
        return fingerprint(self.identity())


RUN_ID: Final = re.compile(r"(?P<stage>[a-z0-9-]+)-(?P<key>[0-9a-f]{12})-(?P<attempt>\d+)")
"""What `run_id` makes."""


def run_id(stage: str, key: str, attempt: int) -> str:
    """A run is one attempt of a stage."""
    return f"{stage}-{key[:12]}-{attempt}"


@dataclass(frozen=True)
class Job:
    """What the work of a stage gets beside its settings."""

    store: Store
    settings: Settings
    key: str
    attempt: int
    run: str
    earlier_runs: tuple[str, ...]
    inputs: Mapping[str, Thing]
    scratch: Path
    observe: Observer
    still_ours: Callable[[], None]


@dataclass(frozen=True)
class Outcome:
    """What the work of a stage leaves: finished things, a few numbers, and how they were computed."""

    outputs: Mapping[str, Thing] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    numerics: Mapping[str, Any] = field(default_factory=dict)
