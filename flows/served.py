"""What a walk asks the targets about: what they serve, and what they could go back to. Nothing here changes anything."""

from collections.abc import Mapping
from typing import Any

from flows.pipeline.session import current
from infra.settings import Settings
from infra.targets.haproxy import binary
from infra.targets.local import Target


def not_served(result: Mapping[str, Any]) -> str:
    """A recorded deployment that its target does not serve any more, by the target's own word."""
    target = Target(current().settings, result["target"])
    release = target.record().release
    meant = release is not None and release.brief() == {"model": result["model"], "package": result["package"]}
    return "" if meant and target.serves() == result["package"] else f"{result['model']} on {result['target']}"


def to_go_back_from(target: str) -> str:
    """What identifies the way back from here. Raises InputError where there is no version before."""
    on = Target(current().settings, target)
    known = on.record()
    on.previous(known)
    return f"{known.releases[-1].package} since {known.since}"


def can_serve(settings: Settings) -> None:
    """Raises TargetError where this machine has no HAProxy."""
    binary()
