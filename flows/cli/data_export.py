"""`slipway data export`: a dataset as Parquet or Arrow, for `datasets` and others."""

import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows.cli.data import find_dataset
from flows.cli.output import emit, size
from infra.settings import Settings
from infra.store import open_store
from infra.store.errors import InputError

Format = Literal["parquet", "arrow"]


def export(
    name: Annotated[str, typer.Argument(help="A dataset's name, or name/version.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or an empty one.")],
    to: Annotated[
        Format, typer.Option("--format", help="parquet: for load_dataset, pandas, DuckDB. arrow: for datasets.load_from_disk.")
    ] = "parquet",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write a dataset for other tools, a table a split; tokens with the tokenizer that decodes them.

    Example: slipway data export books-tokens books --format arrow
    """
    target = folder.expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError("something is there already", where=str(target), mend="Name a new folder, or an empty one.")
    dataset = find_dataset(open_store(Settings.load().store), name)
    from llm.data.export import export_dataset  # pyarrow: what is refused above does without

    target.parent.mkdir(parents=True, exist_ok=True)
    making = target.with_name(f".{target.name}.part")  # visible whole, or not at all
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    try:
        rows = export_dataset(dataset, making, to)
        if target.is_dir():
            target.rmdir()
        making.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    files = {path.relative_to(target).as_posix(): path.stat().st_size for path in sorted(target.rglob("*")) if path.is_file()}
    document = {
        "dataset": "/".join(dataset.prefix.split("/")[1:]),
        "version": dataset.version,
        "format": to,
        "folder": str(target),
        "licence": dataset.facts.get("licence") or None,
        "rows": rows,
        "bytes": sum(files.values()),
        "files": files,
    }
    emit(document, as_json, lambda: _text(document))


def _text(told: dict[str, Any]) -> str:
    folder = repr(told["folder"])
    load = f'load_dataset("parquet", data_dir={folder})' if told["format"] == "parquet" else f"load_from_disk({folder})"
    rows = ", ".join(f"{split} {count:,}" for split, count in told["rows"].items())
    return f"{told['folder']}: {rows} rows, {size(told['bytes'])}, licence {told['licence'] or 'not stated'}\n  datasets.{load}"
