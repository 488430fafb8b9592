"""A package's folder as other tools want it."""

import json
import shutil
from pathlib import Path
from typing import Literal

from flows.models import PACKAGE_FILES
from flows.origins import legal_files, licence_of
from infra.store.errors import InputError
from llm.models.gguf import OutType, export_gguf
from llm.models.weight_files import ONE, join


def export_model(source: Path, target: Path, to: Literal["hf", "gguf", "litgpt"], *, name: str, outtype: OutType = "f16") -> str:
    """Writes into the folder `target` and returns the licence, "" where none is stated. Raises InputError."""
    licence = _licence(source)
    if not (source / "config.json").is_file():
        raise InputError(
            "not a model package: it has no config.json", where=str(source), mend="`slipway models list` names models."
        )
    if to == "gguf":
        export_gguf(source, target / f"{name}.gguf", outtype=outtype, name=name, licence=licence)
    elif to == "litgpt":
        from llm.models.litgpt import write_checkpoint  # the two others do without

        write_checkpoint(source, target, name=name)
    else:
        join(source, target / ONE)
        for file in PACKAGE_FILES:
            if file != ONE and (source / file).is_file():
                shutil.copyfile(source / file, target / file)
    for path in legal_files(source):
        shutil.copyfile(path, target / path.name)
    return licence


def _licence(source: Path) -> str:
    """Of the model where it came from outside, else of the text it was trained on, which is all that is known."""
    lineage = source / "lineage.json"
    told = json.loads(lineage.read_text()) if lineage.is_file() else {}
    return str(told.get("model_licence") or told.get("licence") or licence_of(source))
