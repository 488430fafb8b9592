"""`slipway data`: datasets in the store."""

import difflib
from typing import Annotated, Any

import typer

from flows.cli.output import emit, size
from infra.settings import Settings
from infra.store import open_store
from infra.store.errors import InputError
from infra.store.manifest import MANIFEST, Thing, load
from infra.store.protocol import Store


def show(
    name: Annotated[str, typer.Argument(help="A dataset's name, or name/version.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """What a dataset holds, where it came from, and how it was judged; the newest version unless one is named."""
    thing = _find(open_store(Settings.load().store), name)
    document = {
        "name": thing.prefix.split("/")[1],
        "version": thing.version,
        "uri": thing.uri,
        "stored_bytes": thing.bytes(),
        "files": len(thing.files),
        **thing.facts,
    }
    emit(document, as_json, lambda: _text(document))


def _find(store: Store, name: str) -> Thing:
    manifests = [entry for entry in store.list("datasets") if entry.name.endswith(f"/{MANIFEST}")]
    wanted = [entry for entry in manifests if entry.name.startswith(f"datasets/{name}/")]
    if not wanted:
        names = sorted({entry.name.split("/")[1] for entry in manifests})
        near = difflib.get_close_matches(name, names, 1)
        known = f"did you mean {near[0]}?" if near else f"known: {', '.join(names) or 'none yet'}"
        raise InputError(f"no dataset of this name; {known}", where=name, mend="`slipway store du` lists what the store holds.")
    newest = max(wanted, key=lambda entry: entry.modified)
    return load(store, newest.name.removesuffix(f"/{MANIFEST}"))


def _text(document: dict[str, Any]) -> str:
    head = f"{document['name']}/{document['version']}: {document['kind']}"
    lines = [f"{head}, {size(document['stored_bytes'])} in {document['files']} file{'s' * (document['files'] != 1)}"]
    lines += [f"  {split}: {_counted(document['kind'], counts)}" for split, counts in document.get("splits", {}).items()]
    if document["kind"] == "corpus":
        lines.append(f"  {document['rows']:,} documents, {size(document['bytes'])} of text")
    lines += [
        f"  {key}: {document[key]}"
        for key in ("licence", "interpreter", "vocabulary", "split_by", "corpus", "invalid", "duplicates", "conflicts", "seen")
        if document.get(key)
    ]
    sources = document.get("sources", [])
    lines += [f"  from {source['name']}, {size(source['bytes'])}, sha256 {source['sha256'][:12]}" for source in sources[:10]]
    lines += [f"  and {len(sources) - 10:,} files more"] if len(sources) > 10 else []
    return "\n".join(lines)


def _counted(kind: str, counts: Any) -> str:
    if kind == "classification":
        return f"{sum(counts.values()):,} texts ({', '.join(f'{label} {count:,}' for label, count in counts.items())})"
    if kind == "instruction":
        return f"{counts:,} questions with answers"
    return f"{counts['documents']:,} documents, {counts['tokens']:,} tokens, {size(counts['bytes'])}"
