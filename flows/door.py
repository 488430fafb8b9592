"""What a walk asks registry and ledger about decisions already made. Nothing here changes anything."""

from collections.abc import Mapping
from typing import Any

from flows.pipeline.session import current
from flows.standing import Standing
from infra.ledger import Ledger
from infra.registry import CHAMPION, Registry


def awaited(model: str, policy: str) -> str:
    """For what a person is waited, where the policy asks for one and none has decided."""
    standing, number = _standing(model)
    if policy != "named" or standing is None or number == standing.champion:
        return ""
    last = standing.last(number)
    if last is None:
        return "a person must decide"
    if last.action == "request-changes":
        return f"{last.who} asks for changes: {last.why}"
    if last.action == "approve":
        return f"it was the champion once; now {standing.uri(standing.champion)} is, and a person must decide again"
    return ""


def revoked(result: Mapping[str, Any]) -> str:
    """A recorded release that registry or ledger do not know any more, because another version was released since."""
    standing, number = _standing(result["model"])
    if standing is not None and standing.champion == number and CHAMPION in standing.version(number).aliases:
        return ""
    return f"alias {CHAMPION} on {result['model']}"


def overtaken(result: Mapping[str, Any]) -> str:
    """A recorded decision after which another one was made on the same version."""
    standing, number = _standing(result["model"])
    last = standing.last(number) if standing is not None else None
    return "" if last is not None and last.number == result["entry"] else f"decision on {result['model']}"


def _standing(model: str) -> tuple[Standing | None, int]:
    name, _, number = model.removeprefix("models:/").rpartition("/")
    session = current()
    registry = Registry(session.settings.tracking_uri)
    if not name or registry.is_untouched():
        return None, 0
    standing = Standing.of(name, Ledger(session.store).entries(), registry.versions(name))
    return (standing if int(number) in standing.decisions else None), int(number)
