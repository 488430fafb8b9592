"""The model package: a Hugging Face folder that MLflow loads too, with its lineage beside it."""

import json
import platform
import shutil
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import yaml

from flows.models import PACKAGE_FILES, folder_version
from flows.pipeline.stage import Job
from infra.store.manifest import Thing, publish
from infra.validation import summary
from llm.models.assistant import Assistant
from llm.models.causal import CausalModel
from llm.models.classifier import Classifier
from llm.models.hub import save_classifier, save_model
from llm.models.hub_config import Kind, kind
from llm.text.chat import ChatFormat
from llm.text.tokenizer import Tokenizer

LINEAGE = "lineage.json"
_CODE: dict[Kind | Literal["assistant"], Path] = {
    "causal": Path(__file__).with_name("pyfunc_model.py"),
    "classifier": Path(__file__).with_name("pyfunc_classifier.py"),
    "assistant": Path(__file__).with_name("pyfunc_assistant.py"),
}


def write_package(folder: Path, model: CausalModel | Classifier, tokenizer: Tokenizer) -> None:
    """The part of a package that its hash covers: weights, configuration, tokenizer."""
    special, own_pad = tokenizer.special, _own_pad(tokenizer)
    if isinstance(model, Classifier):
        save_classifier(model, folder, end_of_text=special.eos, bos=special.bos, pad=own_pad)
        tokenizer.save(folder, context_length=model.body.config.context_length)
    else:
        save_model(model, folder, end_of_text=special.eos, bos=special.bos, pad=own_pad)
        tokenizer.save(folder, context_length=model.config.context_length)


def write_assistant(folder: Path, assistant: Assistant) -> None:
    """The same of an assistant: with the chat template, and every token that ends an answer."""
    model, chats = assistant.model, assistant.chats
    special, own_pad = chats.tokenizer.special, _own_pad(chats.tokenizer)
    save_model(model, folder, end_of_text=special.eos, bos=special.bos, pad=own_pad, stop=chats.stop)
    chats.tokenizer.save(folder, context_length=model.config.context_length)
    chats.save(folder)


def _own_pad(tokenizer: Tokenizer) -> int | None:
    """The tokenizer's padding, where a token is kept for it."""
    return None if tokenizer.special.pad == tokenizer.special.eos else tokenizer.special.pad


def as_judged(dataset: Thing) -> dict[str, Any]:
    """How the data was judged, for the lineage of a model that learnt from it: the verdict with its waivers, what was left out."""
    told = {name: dataset.facts[name] for name in ("rejected", "found") if dataset.facts.get(name)}
    return {"validation": summary(dataset.facts["validation"]), **told} if dataset.facts.get("validation") else told


def publish_package(job: Job, folder: Path, lineage: Mapping[str, Any]) -> Thing:
    """Adds what MLflow and an auditor read, and makes `runs/<id>/artifacts/package` visible."""
    version = folder_version(folder)
    (folder / LINEAGE).write_text(
        json.dumps({"format": 1, "package": version, "run": job.run, "key": job.key, **lineage}, indent=2, sort_keys=True) + "\n"
    )
    code = _CODE["assistant" if kind(folder) == "causal" and ChatFormat.load(folder) else kind(folder)]
    shutil.copyfile(code, folder / code.name)
    (folder / "MLmodel").write_text(yaml.safe_dump(_mlmodel(folder, code.name), sort_keys=False))
    job.still_ours()
    return publish(
        job.store,
        f"runs/{job.run}/artifacts/package",
        folder,
        {"kind": "package", "files_hashed": list(PACKAGE_FILES)},
        version=version,
    )


def _mlmodel(folder: Path, code: str) -> dict[str, Any]:
    """MLflow's description of a model that is code of its own (models from code)."""
    return {
        "flavors": {
            "python_function": {
                "loader_module": "mlflow.pyfunc.model",
                "model_code_path": code,
                "python_version": platform.python_version(),
                "streamable": False,
            }
        },
        "mlflow_version": metadata.version("mlflow"),
        "model_size_bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "model_uuid": uuid.uuid4().hex,
        "utc_time_created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
    }
