"""`slipway models export`: a model as a folder or a file that other tools load."""

import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows.cli.located import locate
from flows.cli.output import emit, size
from infra.store.errors import InputError

Format = Literal["hf", "gguf", "litgpt"]
OutType = Literal["f16", "bf16", "f32"]


def export(
    model: Annotated[str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION or a package's folder.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or an empty one.")],
    to: Annotated[
        Format,
        typer.Option(
            "--format",
            help="hf: for transformers, vLLM and others. gguf: one file for llama.cpp. litgpt: a checkpoint for LLM.load.",
        ),
    ] = "hf",
    outtype: Annotated[
        OutType | None, typer.Option(help="With gguf: how matrices are stored; f16 by default. Norms and biases are fp32.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write a model for other tools. Its files are checked against their hashes first; what a format cannot hold is refused.

    Example: slipway models export models:/qwen/1 qwen-gguf --format gguf
    """
    if outtype is not None and to != "gguf":
        raise InputError("--outtype is for --format gguf", where="slipway models export", mend="Leave it out.")
    target = folder.expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError("something is there already", where=str(target), mend="Name a new folder, or an empty one.")
    located = locate(model, checked=True)
    from flows.exporting import export_model  # torch: what is refused above does without

    target.parent.mkdir(parents=True, exist_ok=True)
    making = target.with_name(f".{target.name}.part")  # visible whole, or not at all
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    try:
        licence = export_model(located.folder, making, to, name=located.name, outtype=outtype or "f16")
        if target.is_dir():
            target.rmdir()
        making.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    files = {path.name: path.stat().st_size for path in sorted(target.iterdir())}
    document = {
        "model": model,
        "format": to,
        "folder": str(target),
        "licence": licence or None,
        "bytes": sum(files.values()),
        "files": files,
    }
    emit(document, as_json, lambda: _text(document, located.name))


def _text(told: dict[str, Any], name: str) -> str:
    load = {
        "hf": f"AutoModelForCausalLM.from_pretrained({told['folder']!r})",
        "gguf": f"llama-cli -m {told['folder']}/{name}.gguf",
        "litgpt": f"LLM.load({told['folder']!r}).generate(...)",
    }[told["format"]]
    return (
        f"{told['folder']}: {len(told['files'])} files, {size(told['bytes'])}, licence {told['licence'] or 'not stated'}\n  {load}"
    )
