"""How fast a training step is beside litgpt's and transformers': `python -m benchmarks.training [--rounds N] [--only X] [--json]`.

The same shape, weights, batches, threads and AdamW (torch's fused kernel), gradients clipped to 1, in turn in one process:
- `equal_eager` and `equal_compiled`: all in the precision that we choose on this machine, or in `--precision`;
- `defaults`: ours as a long run decides, the peers as their libraries hand the models out: fp32, eager. (litgpt's own command for
  pretraining compiles and asks for bf16 on any CPU: where the CPU is fast at it, that is `equal_compiled`.)
Each ratio is ours to the faster peer, in tokens a second. Before anything is timed, all have to have the same loss.

`--clock process` counts the CPU time of this process in the place of the wall's, for a machine that others use as well.
`--device cuda`: gpt2-124m in rows of 1,024 tokens and llama3.2-1b in rows of 4,096, beside transformers, with the share of an
H100's 989 TFLOP/s. Not measured yet.

The peers want versions of their own: python3.11 -m venv bench && bench/bin/pip install "litgpt>=0.5.13" "transformers>=5,<6"
pyarrow, and from this folder PYTHONPATH=. bench/bin/python -m benchmarks.training.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

import torch
from torch import Tensor

from benchmarks.paired import Clock, Ratio, in_turn, ratio
from benchmarks.training_contenders import Contender, Shape, contenders, ours
from llm.training.numerics import Numerics

Comparison = Literal["equal_eager", "equal_compiled", "defaults"]
COMPARISONS: Final[tuple[Comparison, ...]] = ("equal_eager", "equal_compiled", "defaults")
ON_CPU: Final = (Shape("llama-14m", rows=8, length=256, vocabulary=4096),)
ON_GPU: Final = (
    Shape("gpt2-124m", rows=32, length=1024, vocabulary=50_304),
    Shape("llama3.2-1b", rows=4, length=4096, vocabulary=128_256),
)
CLOCKS: Final[Mapping[str, Clock]] = {"wall": time.perf_counter, "process": time.process_time}
PEAK: Final = 989e12  # FLOP/s of an H100 or H200 in bf16


@dataclass(frozen=True)
class Result:
    """One comparison: tokens per second of each, and ours to the faster peer."""

    comparison: Comparison
    shape: Shape
    precision: str
    rates: Mapping[str, float]
    peer: str
    ratio: Ratio
    mfu: float | None

    def text(self) -> str:
        shape, compared = self.shape, self.comparison.replace("_", " ")
        head = f"{shape.preset}, {shape.rows} x {shape.length}, {compared}, ours in {self.precision}"
        rows = [f"  {name:<14}{rate:>12,.0f} tokens/s" for name, rate in self.rates.items()]
        share = [] if self.mfu is None else [f"  MFU of ours   {self.mfu:>12.1%}"]
        return "\n".join([head, *rows, *share, f"  ours to {self.peer}: {self.ratio}"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21, help="how often each contender has its turn (15 or more)")
    parser.add_argument("--only", choices=COMPARISONS, help="one comparison alone")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of the equal comparisons")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    given = parser.parse_args(arguments)
    time_of = CLOCKS[given.clock]
    if given.rounds < 15:
        parser.error("fewer than 15 rounds say too little")
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device is here")
    torch.set_num_threads(given.threads)
    results = []
    for shape in ON_GPU if given.device == "cuda" else ON_CPU:
        for comparison in [given.only] if given.only else COMPARISONS:
            results.append(
                compare(shape, comparison, rounds=given.rounds, precision=given.precision, device=given.device, clock=time_of)
            )
            print(results[-1].text(), file=sys.stderr if given.json else sys.stdout, flush=True)
    if given.json:
        print(json.dumps(document(results, given.rounds), indent=2))


def compare(
    shape: Shape, comparison: Comparison, *, rounds: int, precision: Any, device: Literal["cpu", "cuda"], clock: Clock
) -> Result:
    """Raises RuntimeError where a contender does not start with our loss."""
    torch._dynamo.reset()
    numerics = decided(shape, comparison, precision, device)
    plain = replace(numerics, precision="fp32", compile=False) if comparison == "defaults" else numerics
    batches = torch.randint(shape.vocabulary, (8, shape.rows, shape.length + 1), generator=torch.Generator().manual_seed(1))
    batches = batches.to(device)
    there = [ours(shape, numerics), *contenders(shape, plain)]
    check_same_start(there, batches[0])
    for contender in there:  # compiles, allocates
        for batch in batches[:3]:
            contender.step(batch)
    turns = {contender.name: partial(_turn, contender, _endless(batches), device) for contender in there}
    seconds = in_turn(turns, rounds, clock)
    rates = {name: shape.tokens / sorted(each)[len(each) // 2] for name, each in seconds.items()}
    peer = max((name for name in rates if name != "slipway"), key=rates.__getitem__)
    mfu = rates["slipway"] * shape.config.flops_per_token(shape.length) / PEAK if device == "cuda" else None
    precision_ = f"{numerics.precision}{', compiled' if numerics.compile else ''}"
    return Result(comparison, shape, precision_, rates, peer, ratio(seconds["slipway"], seconds[peer]), mfu)


def decided(shape: Shape, comparison: Comparison, precision: Any, device: Literal["cpu", "cuda"]) -> Numerics:
    """Ours: what is compared, or for the defaults what a run of an hour decides."""
    if comparison == "defaults":
        return Numerics.decide("auto", compile="auto", flops=1e17 if device == "cpu" else 1e20)
    numerics = Numerics.decide(precision, compile="always" if comparison == "equal_compiled" else "never")
    return replace(numerics, device=device)


def check_same_start(there: Sequence[Contender], batch: Tensor) -> None:
    """The loss of everyone before the first step, in fp32."""
    losses = {contender.name: contender.loss(batch) for contender in there}
    if max(losses.values()) - min(losses.values()) > 1e-4 * losses["slipway"]:
        raise RuntimeError(f"not the same model: {losses}")


def _endless(batches: Tensor) -> Callable[[], Tensor]:
    number = -1

    def following() -> Tensor:
        nonlocal number
        number += 1
        return batches[number % len(batches)]

    return following


def _turn(contender: Contender, following: Callable[[], Tensor], device: str) -> None:
    contender.step(following())
    if device == "cuda":
        torch.cuda.synchronize()


def document(results: Sequence[Result], rounds: int) -> dict[str, Any]:
    """`ratio_<comparison>` and `peers` of the one shape on a CPU; on a GPU the same under each preset's name."""
    by_shape: dict[str, dict[str, Any]] = {}
    for result in results:
        place = by_shape.setdefault(result.shape.preset, {"peers": {}, "ours": {}})
        place[f"ratio_{result.comparison}"] = result.ratio.document()
        rates = {name: round(rate, 1) for name, rate in result.rates.items()}
        place["ours"][result.comparison] = {
            "tokens_per_second": rates.pop("slipway"),
            "numerics": result.precision,
            "mfu": result.mfu,
        }
        place["peers"][result.comparison] = rates
    facts = {"rounds": rounds, "threads": torch.get_num_threads(), "torch": torch.__version__}
    shapes = list(by_shape.values())
    return {**facts, **shapes[0]} if len(shapes) == 1 else {**facts, **by_shape}


if __name__ == "__main__":
    main()
