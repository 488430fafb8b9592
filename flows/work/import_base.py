"""The work of `import-base`: a model from outside becomes a package in the store, its weights streamed, never held."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from flows.origins import SMALL, legal_files
from flows.pipeline.stage import Job, Outcome
from flows.stage_settings import BaseFolder
from flows.work.package import publish_package
from infra.store.errors import InputError
from infra.store.manifest import known_sha256
from llm.events import Noted
from llm.models.classifier import Classifier
from llm.models.hub import load_classifier, load_model
from llm.models.hub_config import kind, load_config
from llm.models.weight_files import ONE, join
from llm.text.files import CONFIG as TOKENIZER_CONFIG
from llm.text.files import FILE as TOKENIZER
from llm.text.tokenizer import Tokenizer


def work(job: Job, settings: BaseFolder) -> Outcome:
    source, folder = Path(settings.folder), job.scratch / "package"
    folder.mkdir()
    if settings.layout == "litgpt":
        from llm.models.litgpt import read_checkpoint  # nothing else needs it

        read_checkpoint(source, folder)
    else:
        load_config(source)  # what is not known is refused before gigabytes are copied
        _check_unquantised(source)
        join(source, folder / ONE)
        shutil.copyfile(source / "config.json", folder / "config.json")
    _copy_small(source, folder)
    parameters = _check(folder)
    for path in legal_files(source):
        shutil.copyfile(path, folder / path.name)
    lineage: dict[str, Any] = {
        "imported_from": settings.source,
        "layout": settings.layout,
        "model_licence": settings.licence or None,
        "source_files": dict(settings.files),
        "weights_sha256": known_sha256(folder / ONE),
        **({"revision": settings.revision} if settings.revision else {}),
    }
    job.observe(Noted(f"{settings.source}: {parameters:,} parameters, licence {settings.licence or 'not stated'}"))
    package = publish_package(job, folder, lineage)
    result = {
        "parameters": parameters,
        "package_uri": package.uri,
        "weights_sha256": lineage["weights_sha256"],
        "bytes": package.bytes(),
    }
    return Outcome({"package": package}, result)


def _copy_small(source: Path, folder: Path) -> None:
    """Tokenizer and settings; a chat template in a file of its own goes where everybody finds it, into tokenizer_config.json."""
    for name in SMALL:
        if (source / name).is_file() and name not in ("config.json", "chat_template.jinja"):
            shutil.copyfile(source / name, folder / name)
    beside, settings = source / "chat_template.jinja", folder / TOKENIZER_CONFIG
    template = _read_json(settings).get("chat_template") or (beside.read_text() if beside.is_file() else None)
    if not (folder / TOKENIZER).is_file():  # vocabulary and merges, or a SentencePiece model: written as others read them
        Tokenizer.load(source).save(folder, context_length=load_config(folder).context_length)
    known = _read_json(settings)
    if template and known.get("chat_template") != template:
        settings.write_text(json.dumps({**known, "chat_template": template}, indent=2, sort_keys=True) + "\n")


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _check(folder: Path) -> int:
    """Loads what was made, weights mapped and not read, so that a model that does not load is refused here. Its parameters."""
    model: torch.nn.Module = load_classifier(folder) if kind(folder) == "classifier" else load_model(folder)
    config = model.body.config if isinstance(model, Classifier) else load_config(folder)
    size = Tokenizer.load(folder).size
    if size > config.vocabulary:
        raise InputError(
            f"the tokenizer has {size:,} tokens, the model {config.vocabulary:,}",
            where=str(folder),
            mend="Put the tokenizer beside the model that was trained with it.",
        )
    return sum(parameter.numel() for parameter in model.parameters())


def _check_unquantised(source: Path) -> None:
    told = json.loads((source / "config.json").read_text()).get("quantization_config")
    if told:
        raise InputError(
            f"its weights are quantised ({told.get('quant_method', 'unknown')}), which is not read here",
            where=str(source / "config.json"),
            mend="Name the model that it was made from.",
        )
