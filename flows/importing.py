"""A model from outside into the store and the registry: two stages, walked here and now, without an orchestrator."""

import re
from collections.abc import Sequence

from flows import stages
from flows.models import missing_version
from flows.origins import HUB, Origin
from flows.pipeline.session import SESSION, Session, Walked, preflight, walk
from infra.store.errors import InputError


def import_model(session: Session, found: Origin, name: str) -> Sequence[Walked]:
    """Imports and registers; what is there already is reused. Raises InputError for a name that is none."""
    if not re.fullmatch(r"[^/:@'\"]+", name):
        raise InputError("not a model's name", where=name, mend="Choose a name without slash, colon, at sign or quotes.")
    token = SESSION.set(session)
    try:
        preflight(session, ())
        package = walk(stages.import_base(found))["package"]
        walk(stages.register_import(name, package, missing_version))
    finally:
        SESSION.reset(token)
    return session.walked


def named(place: str) -> str:
    """The registered name that a folder or an address of the hub suggests."""
    last = place.removeprefix(HUB).partition("@")[0].rstrip("/").rpartition("/")[2]
    return re.sub(r"[^a-z0-9._-]+", "-", last.lower()).strip("-.") or "imported"
