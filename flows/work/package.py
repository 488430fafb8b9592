"""The model package: a Hugging Face folder that MLflow loads too, with its lineage beside it."""

import json
import platform
import shutil
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from flows.models import PACKAGE_FILES, folder_version
from flows.pipeline.stage import Job
from infra.store.manifest import Thing, publish
from llm.models.hub import save_model
from llm.models.llama import Llama
from llm.text.tokenizer import Tokenizer

LINEAGE = "lineage.json"
_CODE = Path(__file__).with_name("pyfunc_model.py")


def write_package(folder: Path, model: Llama, tokenizer: Tokenizer) -> None:
    """The part of a package that its hash covers: weights, configuration, tokenizer."""
    save_model(model, folder, end_of_text=tokenizer.eos)
    tokenizer.save(folder, context_length=model.config.context_length)


def publish_package(job: Job, folder: Path, lineage: Mapping[str, Any]) -> Thing:
    """Adds what MLflow and an auditor read, and makes `runs/<id>/artifacts/package` visible."""
    version = folder_version(folder)
    (folder / LINEAGE).write_text(
        json.dumps({"format": 1, "package": version, "run": job.run, "key": job.key, **lineage}, indent=2, sort_keys=True) + "\n"
    )
    shutil.copyfile(_CODE, folder / _CODE.name)
    (folder / "MLmodel").write_text(yaml.safe_dump(_mlmodel(folder), sort_keys=False))
    job.still_ours()
    return publish(
        job.store,
        f"runs/{job.run}/artifacts/package",
        folder,
        {"kind": "package", "files_hashed": list(PACKAGE_FILES)},
        version=version,
    )


def _mlmodel(folder: Path) -> dict[str, Any]:
    """MLflow's description of a model that is code of its own (models from code)."""
    return {
        "flavors": {
            "python_function": {
                "loader_module": "mlflow.pyfunc.model",
                "model_code_path": _CODE.name,
                "python_version": platform.python_version(),
                "streamable": False,
            }
        },
        "mlflow_version": metadata.version("mlflow"),
        "model_size_bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "model_uuid": uuid.uuid4().hex,
        "utc_time_created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
    }
