"""`slipway store`: what the store holds, and what nothing refers to any more."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import emit, size, table
from infra.services import with_services
from infra.settings import Settings
from infra.store import open_store
from infra.store.lease import lease

if TYPE_CHECKING:
    from flows.garbage import Garbage


def du(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """What the store holds: each dataset and each run with its size, the largest first."""
    store = open_store(Settings.load().store)
    found: dict[str, list[int]] = defaultdict(list)
    for entry in store.list():
        parts = entry.name.split("/")
        depth = 3 if parts[0] == "datasets" else 2 if parts[0] == "runs" else 1
        found["/".join(parts[: min(depth, len(parts) - 1)])].append(entry.bytes)
    things = sorted(
        ({"name": name, "objects": len(sizes), "bytes": sum(sizes)} for name, sizes in found.items()),
        key=lambda thing: -int(str(thing["bytes"])),
    )
    total = sum(sum(sizes) for sizes in found.values())
    document = {"store": store.url, "bytes": total, "things": things}
    emit(
        document,
        as_json,
        lambda: (
            table(("name", "objects", "size"), [(t["name"], t["objects"], size(int(str(t["bytes"])))) for t in things])
            + f"\n\n{size(total)} in {store.url}"
        ),
    )


def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Free it. Without this nothing is changed.")] = False,
    days: Annotated[
        float, typer.Option(help="What nothing refers to stays for so many days; what is half-written for one.", min=0)
    ] = 7.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """What nothing refers to any more: no registered version, decision, target or running work. Frees it with --delete.

    The newest result of each stage on each dataset stays too, and what it was made from: what the next run would reuse.
    """
    # the registry loads MLflow, which the other commands of this group do without
    from flows.garbage import LEASE, find_garbage, free, names

    settings = with_services(Settings.load())
    store = open_store(settings.store)
    with lease(store, LEASE, ttl=settings.lease_seconds) if delete else nullcontext():
        found = find_garbage(store, names(settings, store), days=days)
        freed = list(free(store, found)) if delete else []
    total = sum(each.bytes for each in (freed if delete else found))
    document = {
        "store": store.url,
        "deleted": delete,
        "bytes": total,
        "things": [each.document() | {"deleted": each in freed} for each in found],
    }
    emit(document, as_json, lambda: _told(found, freed, total, store.url, delete=delete))


def _told(found: "Sequence[Garbage]", freed: "Sequence[Garbage]", total: int, url: str, *, delete: bool) -> str:
    if not found:
        return f"Nothing to free in {url}."
    rows = [(each.name, len(each.entries), size(each.bytes), each.why) for each in found]
    lines = [table(("name", "objects", "size", "why"), rows), ""]
    if not delete:
        return "\n".join([*lines, f"{size(total)} would be freed in {url}; --delete frees it."])
    if kept := len(found) - len(freed):
        lines.append(f"{kept} of them stayed: somebody began to use them.")
    return "\n".join([*lines, f"{size(total)} freed in {url}."])
