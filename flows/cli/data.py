"""`slipway data show`: a dataset's card, and a few of its rows."""

import difflib
from typing import Annotated, Any, Literal, cast

import typer

from flows.cli.dataset_text import card_text, samples_text
from flows.cli.output import emit
from infra.settings import Settings
from infra.store import open_store
from infra.store.errors import InputError
from infra.store.manifest import MANIFEST, Thing, load
from infra.store.protocol import Store

SplitName = Literal["train", "validation", "test"]
_SAMPLES = 3


def show(
    name: Annotated[str, typer.Argument(help="A dataset's name, or name/version.")],
    samples: Annotated[
        int, typer.Option("--samples", min=0, help="Rows to show, evenly chosen; 0 shows the card alone.")
    ] = _SAMPLES,
    split: Annotated[str, typer.Option("--split", help="Of which split: train (by default), validation or test.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """What a dataset holds, where from, how it was judged, and a few of its rows; the newest version unless one is named."""
    thing = find_dataset(open_store(Settings.load().store), name)
    document = card(thing)
    if samples:
        from llm.data.samples import samples as read_samples  # pyarrow and tokenizers: the card does without

        document["samples"] = read_samples(thing, samples, _split(split))
    emit(document, as_json, lambda: "\n".join([card_text(document), *samples_text(document.get("samples", []))]))


def card(thing: Thing) -> dict[str, Any]:
    """What is known of a dataset: where it is, every file's sha256, and all that its manifest says."""
    return {
        **thing.facts,
        "name": thing.prefix.split("/")[1],
        "version": thing.version,
        "uri": thing.uri,
        "stored_bytes": thing.bytes(),
        "files": len(thing.files),
        "sha256": {name: entry["sha256"] for name, entry in sorted(thing.files.items())},
    }


def find_dataset(store: Store, name: str) -> Thing:
    """A dataset by name, or by name and version; the newest where several fit. Raises InputError."""
    manifests = [entry for entry in store.list("datasets") if entry.name.endswith(f"/{MANIFEST}")]
    wanted = [entry for entry in manifests if entry.name.startswith(f"datasets/{name}/")]
    if not wanted:
        names = sorted({entry.name.split("/")[1] for entry in manifests})
        near = difflib.get_close_matches(name, names, 1)
        known = f"did you mean {near[0]}?" if near else f"known: {', '.join(names) or 'none yet'}"
        raise InputError(f"no dataset of this name; {known}", where=name, mend="`slipway store du` lists what the store holds.")
    newest = max(wanted, key=lambda entry: entry.modified)
    return load(store, newest.name.removesuffix(f"/{MANIFEST}"))


def _split(name: str) -> SplitName | None:
    if name not in ("", "train", "validation", "test"):
        raise InputError(f"no split is named {name!r}", where="--split", mend="The splits are train, validation and test.")
    return cast("SplitName", name) if name else None
