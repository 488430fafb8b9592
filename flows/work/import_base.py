"""The work of `import-base`: a model folder from outside becomes a package in the store."""

import shutil
from pathlib import Path

from flows.models import PACKAGE_FILES
from flows.pipeline.stage import Job, Outcome
from flows.stages import BaseFolder
from flows.work.package import publish_package
from llm.models.hub import load_model
from llm.text.tokenizer import Tokenizer


def work(job: Job, settings: BaseFolder) -> Outcome:
    source, folder = Path(settings.folder), job.scratch / "package"
    model = load_model(source)  # a folder that does not load is refused here, before anything builds on it
    Tokenizer.load(source)
    folder.mkdir()
    for name in PACKAGE_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    package = publish_package(job, folder, {"imported_from": source.name})
    return Outcome({"package": package}, {"parameters": model.config.parameters()})
