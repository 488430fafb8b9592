"""Losses of a few steps on tokens out of a seed, the same to the last bit wherever they are computed.

`python -m tests.llm.training.golden_losses --record` writes them anew: only when the arithmetic was changed on purpose, and the
commit says why. Kernels differ between CPUs, so these runs choose, before torch is loaded, those that every x86-64 has: MKL's
reproducible ones, torch's without vector instructions, oneDNN not at all; and one thread. A file says on which CPU it was made.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

PORTABLE: Final = {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
FOLDER: Final = Path(__file__).parent / "golden"
STEPS: Final = 3
ROWS: Final = 2
LENGTH: Final = 16
LONG: Final = 64  # long enough for attention block by block


@dataclass(frozen=True)
class Case:
    """A preset and how it computes."""

    preset: str
    precision: str
    compiled: bool = False
    optimizer: str = "adamw"
    length: int = LENGTH

    @property
    def name(self) -> str:
        other = "" if self.optimizer == "adamw" else f"-{self.optimizer}"
        return f"{self.preset}.{self.precision}-{'compiled' if self.compiled else 'eager'}{other}"

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.json"


_TINY: Final = [(preset, precision) for preset in ("llama-tiny", "gpt2-tiny") for precision in ("fp32", "bf16")]
QUICK: Final = tuple(
    Case(*tiny, optimizer=optimizer, length=length) for optimizer, length in (("adamw", LENGTH), ("muon", LONG)) for tiny in _TINY
)
EAGER: Final = tuple(Case(preset, precision) for preset in ("llama-5m", "llama-14m", "gpt2-10m") for precision in ("fp32", "bf16"))
COMPILED: Final = (Case("llama-tiny", "fp32", compiled=True), Case("gpt2-tiny", "fp32", compiled=True))


def losses(case: Case, rank: int = 0, world: int = 1) -> list[float]:
    """Of each step. One process takes two micro-batches; two workers take one each, which adds up to the same bits."""
    import torch  # after the environment was set

    from llm.models.build import new_model
    from llm.models.presets import PRESETS
    from llm.training.apply import apply
    from llm.training.numerics import Numerics
    from llm.training.optimizers import make_optimizer
    from llm.training.step import NextToken, train_step
    from llm.training.topology import Topology

    numerics = replace(Numerics.decide(case.precision), device="cpu", compile=case.compiled)  # type: ignore[arg-type]
    config = PRESETS[case.preset]
    model = new_model(config).train()
    model.initialise(1)
    apply(model, numerics)
    optimizer = make_optimizer(case.optimizer, model, weight_decay=0.1, half=case.precision != "fp32")  # type: ignore[arg-type]
    shape = (STEPS, 2, ROWS // 2, case.length + 1)
    tokens = torch.randint(config.vocabulary, shape, generator=torch.Generator().manual_seed(1))
    found = []
    for batch in tokens:
        mine = list(batch) if world == 1 else [batch[rank]]
        result = train_step(
            model,
            NextToken(),
            mine,
            optimizer,
            learning_rate=1e-3,
            gradient_clip=1.0,
            numerics=numerics,
            topology=Topology(rank, world),
        )
        found.append(float(result.loss))
    return found


def of_worker(cases: Sequence[Case], rank: int, world: int, meeting: Path) -> dict[Case, list[float]]:
    """The cases by one of so many workers, which find each other through a file."""
    import torch.distributed as dist  # after the environment was set

    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    found = {case: losses(case, rank, world) for case in cases}
    dist.destroy_process_group()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the files anew")
    parser.add_argument("--cases", choices=("quick", "eager", "compiled"), help="these alone; else all")
    parser.add_argument("--worker", nargs=3, metavar=("RANK", "WORLD", "FILE"), help="be one of several workers")
    given = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in PORTABLE.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **PORTABLE})
    import torch  # after the environment was set

    torch.set_num_threads(1)
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    kinds = {"quick": QUICK, "eager": EAGER, "compiled": COMPILED}
    cases = kinds[given.cases] if given.cases else [case for kind in kinds.values() for case in kind]
    if given.worker:
        rank, world, meeting = given.worker
        found = of_worker(cases, int(rank), int(world), Path(meeting))
    else:
        found = {case: losses(case) for case in cases}
    if given.record:
        FOLDER.mkdir(exist_ok=True)
        for case, values in found.items():
            case.path.write_text(json.dumps({"made": here(case), "losses": values}, indent=2) + "\n")
    sys.stdout.write(json.dumps({case.name: values for case, values in found.items()}) + "\n")


def here(case: Case) -> dict[str, str]:
    """What may decide the bits, if the kernels are not as alike everywhere as they are meant to be."""
    import torch  # after the environment was set

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    wanted = ("vendor_id", "cpu family", "model")
    cpu = " ".join(next((line.split(":")[1].strip() for line in lines if line.split("\t")[0] == name), "?") for name in wanted)
    facts = {"torch": torch.__version__.split("+")[0], "cpu": f"{platform.machine()} {cpu}"}
    if case.compiled:
        compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++") or ""
        facts["compiler"] = subprocess.run(
            [compiler, "-dumpfullversion"], capture_output=True, text=True, check=True
        ).stdout.strip()
    return facts


if __name__ == "__main__":
    main()
