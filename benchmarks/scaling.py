"""Two workers beside one on this machine: `python -m benchmarks.scaling [--rounds N] [--steps N] [--json]`; `--paper` for plans.

The training loop itself on the same batches, in turn, in processes that stay:
- `one`: one worker of one thread; `two threads`: one worker of two;
- `two`: two workers of one thread each, half of the batch each, their gradients added up through gloo;
- `two apart`: the same two, each on half a batch of its own, exchanging nothing: what the machine itself allows;
- `two on Ray` with `--ray`: as `two`, started by Ray Train.
Then the exchange alone: the sum of this model's gradients over both workers, as each step of ddp makes it, and as a share of the
step.

`--paper` prints the plan for 8 to 1,024 GPUs that docs/scaling.md holds, and measures nothing.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
import torch.distributed as dist

from benchmarks import scaling_paper
from benchmarks.paired import ratio, turns
from benchmarks.scaling_data import prepared
from infra.cluster import connect
from llm.events import ignore
from llm.models.build import new_model
from llm.models.presets import PRESETS, preset
from llm.training.config import Parallel, TrainingConfig
from llm.training.distributed import train_on_workers
from llm.training.numerics import Numerics
from llm.training.pretrain import PretrainJob, pretrain
from llm.training.topology import ALONE, Topology

_EXCHANGES: Final = 20
_END_SECONDS: Final = 30.0
_RUN: Final = "pretrain-scaling-1"


@dataclass(frozen=True)
class Bench:
    """Where it runs, and what each contender trains: `steps` steps of a recipe's batch."""

    folder: Path
    tokens: str
    model: str
    training: TrainingConfig

    def job(self, name: str, *, rows: int, threads: int) -> PretrainJob:
        """A run of its own. threads: of all its workers together."""
        scratch = self.folder / "scratch" / name
        scratch.mkdir(parents=True, exist_ok=True)
        shape = preset(self.model, vocabulary=PRESETS[self.model].vocabulary, context_length=self.training.sequence_length)
        training = replace(self.training, batch_size=rows)
        numerics = replace(Numerics.decide("auto", training.optimizer), threads=threads)
        run = f"{_RUN}-{name}"
        return PretrainJob(f"file://{self.folder}/store", self.tokens, run, (), scratch, shape, training, training.steps, numerics)

    def clean(self) -> None:
        """Takes the checkpoints away: the next run of the same name begins anew."""
        shutil.rmtree(self.folder / "store" / "runs", ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--paper", action="store_true", help="the plan for 8 to 1,024 GPUs, as docs/scaling.md has it")
    parser.add_argument("--rounds", type=int, default=9, help="how often each contender has its turn (6 or more)")
    parser.add_argument("--steps", type=int, default=20, help="of each turn; the first two do not count")
    parser.add_argument("--model", choices=PRESETS, default="llama-14m")
    parser.add_argument("--rows", type=int, default=8, help="of each batch, over all workers")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--parallel", choices=("ddp", "fsdp"), default="ddp", help="how the two workers share the model")
    parser.add_argument("--ray", action="store_true", help="also two workers that Ray Train starts")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    given = parser.parse_args(arguments)
    if given.paper:
        print(scaling_paper.text())
        return
    if given.rounds < 6 or given.steps < 3 or given.rows % 2:
        parser.error("six rounds, three steps and an even number of rows are the fewest that say something")
    training = TrainingConfig(
        steps=given.steps, batch_size=given.rows, sequence_length=given.length, validate_every=0, checkpoint_every=0
    )
    with tempfile.TemporaryDirectory(prefix="slipway-scaling-") as folder:
        tokens = prepared(Path(folder) / "store", given.length)
        document = measure(Bench(Path(folder), tokens, given.model, training), given.rounds, given.parallel, ray=given.ray)
    print(json.dumps(document, indent=2) if given.json else _text(document))


def measure(bench: Bench, rounds: int, parallel: Parallel = "ddp", *, ray: bool = False) -> dict[str, Any]:
    """Tokens per second of each contender in each round, what two workers gain, and what their exchange takes."""
    shared = replace(bench, training=replace(bench.training, parallel=parallel, workers=2))
    rows = bench.training.batch_size
    with _workers(bench.folder) as (first, both):
        contenders: dict[str, Callable[[], float]] = {
            "one": lambda: first(bench.job("one", rows=rows, threads=1)),
            "two threads": lambda: first(bench.job("threads", rows=rows, threads=2)),
            "two": lambda: both([shared.job("two", rows=rows, threads=2)] * 2, together=True)[0],
            "two apart": lambda: sum(both([bench.job(f"apart-{n}", rows=rows // 2, threads=1) for n in (0, 1)], together=False)),
        }
        if ray:
            contenders["two on Ray"] = lambda: _on_ray(shared.job("ray", rows=rows, threads=2), bench.folder)
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        for name in turns(list(contenders), rounds):
            rates[name].append(contenders[name]())
            bench.clean()
        exchange = both([shared.job("exchange", rows=rows, threads=2)] * 2, together=True, exchange=True)[0]
    step = bench.training.tokens_per_step / median(rates["two"])
    return {
        "model": bench.model,
        "batch": f"{rows} x {bench.training.sequence_length}",
        "optimizer": bench.training.optimizer,
        "parallel": parallel,
        "steps": bench.training.steps,
        "rounds": rounds,
        "tokens_per_second": rates,
        "ratio_to_one": {name: _ratio(rates[name], rates["one"]) for name in rates if name != "one"},
        "two_to_two_apart": _ratio(rates["two"], rates["two apart"]),
        "exchange_seconds": exchange,
        "exchange_bytes": 4 * bench.job("bytes", rows=rows, threads=1).model.parameters(),
        "step_seconds": step,
        "exchange_share": exchange / step,
    }


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Of speeds, where `ratio` takes seconds."""
    return ratio([1 / rate for rate in ours], [1 / rate for rate in theirs]).document()


@contextmanager
def _workers(folder: Path) -> Iterator[tuple[Callable[[PretrainJob], float], Callable[..., list[float]]]]:
    """Two processes: a function that has the first do a job, and one that has both do theirs, alone or together."""
    context = get_context("spawn")
    pipes, processes = [], []
    for rank in (0, 1):
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, Topology(rank, 2), str(folder / "rendezvous")), daemon=True)
        process.start()
        pipes.append(ours)
        processes.append(process)

    def first(job: PretrainJob) -> float:
        pipes[0].send((job, ALONE, False))
        return _answer(pipes[0])

    def both(jobs: Sequence[PretrainJob], *, together: bool, exchange: bool = False) -> list[float]:
        for rank, (pipe, job) in enumerate(zip(pipes, jobs, strict=True)):
            pipe.send((job, Topology(rank, 2) if together else ALONE, exchange))
        return [_answer(pipe) for pipe in pipes]

    try:
        yield first, both
    finally:
        for pipe in pipes:
            pipe.close()  # which ends its process
        for process in processes:
            process.join(_END_SECONDS)
            process.kill()  # one may wait for the other for ever after an error


def _answer(pipe: Any) -> float:
    found = pipe.recv()
    if isinstance(found, BaseException):
        raise found
    return float(found)


def _serve(pipe: "Connection[Any, Any]", place: Topology, rendezvous: str) -> None:
    """Does jobs as they come, until nobody sends more."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=place.rank, world_size=place.world)
    while True:
        try:
            job, topology, exchange = pipe.recv()
        except EOFError:
            break
        try:
            pipe.send(_exchange(job, topology) if exchange else pretrain(job, ignore, topology).tokens_per_second())
        except Exception as error:
            pipe.send(error)
    dist.destroy_process_group()


def _exchange(job: PretrainJob, topology: Topology) -> float:
    """Seconds that it takes to add up gradients of the model's size over the workers, the median."""
    job.numerics.apply(topology.world)
    gradients = [torch.ones_like(parameter) for parameter in new_model(job.model).parameters()]
    seconds = []
    for _ in range(_EXCHANGES + 2):
        topology.wait()
        began = time.perf_counter()
        topology.add(gradients)
        seconds.append(time.perf_counter() - began)
    return median(seconds[2:])


def _on_ray(job: PretrainJob, folder: Path) -> float:
    with connect(None, cpus=2, home=folder / "home"):
        return train_on_workers(pretrain, job, 2, ignore, embedded=True).tokens_per_second()


def _text(document: Mapping[str, Any]) -> str:
    head = "{model}, {batch}, {optimizer}, {parallel}: {rounds} rounds of {steps} steps".format_map(document)
    lines = []
    for name, rates in document["tokens_per_second"].items():
        compared = document["ratio_to_one"].get(name)
        beside = "" if compared is None else "   to one: {median:.3f} [{low:.3f}, {high:.3f}]".format_map(compared)
        lines.append(f"  {name:<12}{median(rates):>10,.0f} tokens/s  [{min(rates):,.0f}, {max(rates):,.0f}]{beside}")
    apart = "  two to two apart: {median:.3f} [{low:.3f}, {high:.3f}]".format_map(document["two_to_two_apart"])
    exchange = (
        f"  exchange of {document['exchange_bytes'] / 1e6:.0f} MB: {1e3 * document['exchange_seconds']:.0f} ms, "
        f"{document['exchange_share']:.1%} of a step of {1e3 * document['step_seconds']:.0f} ms"
    )
    return "\n".join([head, *lines, apart, exchange])


if __name__ == "__main__":
    main()
