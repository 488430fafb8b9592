"""The models and a training step run where nothing is installed but torch, numpy, safetensors, tokenizers and what these need."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
NEEDED = ("torch", "numpy", "safetensors", "tokenizers")
SCRIPT = """
import sys
sys.path.extend(sys.argv[1:])
import importlib, pkgutil, torch
import llm.models
for module in pkgutil.iter_modules(llm.models.__path__):
    importlib.import_module(f"llm.models.{module.name}")
from llm.models.build import new_model
from llm.models.presets import PRESETS
from llm.training.numerics import Numerics
from llm.training.optimizers import AdamW
from llm.training.step import NextToken, train_step
for name in ("llama-tiny", "gpt2-tiny"):
    model, batch = new_model(PRESETS[name]), torch.arange(34).view(2, 17)
    optimizer = AdamW(model.named_parameters(), weight_decay=0.1)
    losses = [
        float(train_step(
            model, NextToken(), [batch], optimizer, learning_rate=1e-2, gradient_clip=1.0, numerics=Numerics.decide("fp32")
        ).loss)
        for _ in range(3)
    ]
    assert losses[0] > losses[1] > losses[2], losses
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def requirements(names: tuple[str, ...]) -> set[str]:
    """The distributions and, without their extras, all that they ask for."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop().lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        for line in metadata.requires(name) or ():
            asked = Requirement(line)
            if asked.marker is None or asked.marker.evaluate({"extra": ""}):
                left.append(asked.name)
    return found


def site_packages(folder: Path, names: set[str]) -> None:
    """A folder with links to these distributions' files and to nothing else."""
    folder.mkdir()
    for name in names:
        for path in metadata.files(name) or ():
            top = folder / path.parts[0]
            if path.parts[0] not in ("..", "__pycache__") and not top.exists():
                top.symlink_to(Path(str(metadata.distribution(name).locate_file(path.parts[0]))))


def test_the_models_and_a_training_step_need_four_packages_alone(tmp_path: Path) -> None:
    site_packages(tmp_path / "site", requirements(NEEDED))
    (tmp_path / "ours").mkdir()
    for room in ("llm", "infra"):
        (tmp_path / "ours" / room).symlink_to(ROOT / room)
    absent = ("pydantic", "psutil", "transformers", "prefect", "pyarrow", "pandas", "ray")
    assert not [name for name in absent if (tmp_path / "site" / name).exists()]
    command = [sys.executable, "-S", "-I", "-c", SCRIPT, str(tmp_path / "site"), str(tmp_path / "ours")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {"torch", "llm", "infra"} <= loaded
    assert not loaded & set(absent)
