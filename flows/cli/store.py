"""`slipway store`: what the store holds."""

from collections import defaultdict
from typing import Annotated

import typer

from flows.cli.output import emit, size, table
from infra.settings import Settings
from infra.store import open_store


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
