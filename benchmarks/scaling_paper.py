"""The paper plan for 8 to 1,024 GPUs as tables: `python -m benchmarks.scaling --paper`. docs/scaling.md holds what this prints."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from llm.models.config import CausalConfig
from llm.models.presets import PRESETS
from llm.training.config import Parallel
from llm.training.gpus import GPUS
from llm.training.interconnect import H100_CLUSTER
from llm.training.published_speeds import LLAMA3_70B, PUBLISHED_SPEEDS
from llm.training.scale_limits import critical_batch, failures, more_tokens, slow_machine
from llm.training.scale_plan import OURS, USUAL, Layout, Load, fitting_load, gpu_memory, least_tokens, plan_step

GPU: Final = GPUS["h100"]
SIZES: Final = (8, 64, 256, 1024)
_STATE_BYTES: Final = 12  # of a parameter: its fp32 weight and AdamW's two moments
_TO_HOST: Final = 10e9  # bytes a second that a GPU copies its share to the host's memory with; an assumption, PCIe 5 has 64
_TO_STORE: Final = 10e9  # bytes a second that a store takes from all of them together; an assumption
_RESTART: Final = 300.0  # seconds from a failure to the next step; an assumption
_SLOW: Final = 0.005  # share of machines that are slow; an assumption


@dataclass(frozen=True)
class Planned:
    """A model, the rows of its batch, 20 tokens a parameter to train on, and the layouts that are tried."""

    name: str
    model: CausalConfig
    rows: int
    layouts: tuple[tuple[Parallel, int], ...]

    @property
    def length(self) -> int:
        return self.model.context_length

    @property
    def critical(self) -> float:
        return critical_batch(self.model.parameters(), 20 * self.model.parameters())

    def rows_of(self, layout: Layout) -> int:
        """Rows of each reader: its share of the batch, or one where there are more readers than rows."""
        return max(1, self.rows // layout.readers)

    def layouts_on(self, gpus: int) -> Iterator[Layout]:
        for parallel, tensor in self.layouts:
            layout = Layout(gpus=gpus, parallel=parallel, tensor=tensor)
            if parallel != "hybrid" or layout.readers > layout.shards(H100_CLUSTER):  # else all is one machine: the same as fsdp
                yield layout


PLANNED: Final = (
    Planned("1B", replace(PRESETS["llama3.2-1b"], context_length=4096), 512, (("ddp", 1), ("fsdp", 1), ("hybrid", 1))),
    Planned("8B", PRESETS["llama3-8b"], 512, (("ddp", 1), ("fsdp", 1), ("hybrid", 1), ("fsdp", 8))),
    Planned("70B", LLAMA3_70B, 1024, (("fsdp", 1), ("fsdp", 8))),
)


def text() -> str:
    """All tables, as Markdown."""
    tables = (steps(), memory_by_part(), gathers(), batches(), machines(), published())
    return "\n\n".join("\n".join(lines) for lines in tables)


def steps() -> list[str]:
    head = (
        "GPUs|layout|rows x turns, again|peak GB|sent GB|needs GB/s|compute s|exchange s|hidden|step s|MFU"
        "|tokens/s a GPU|MFU, usual ways"
    )
    rows = []
    for planned in PLANNED:
        for gpus in SIZES:
            for layout in planned.layouts_on(gpus):
                load = _load(planned, layout)
                cells = [f"{planned.name}, {gpus:,}", str(layout)]
                if load is None:
                    rows.append([*cells, "does not fit", *[""] * 10])
                    continue
                step = plan_step(planned.model, load, layout, GPU)
                sent = step.within + step.across
                rows.append(
                    [
                        *cells,
                        f"{load.rows} x {load.micro_batches}, {load.checkpointing}",
                        f"{gpu_memory(planned.model, load, layout).peak / 1e9:.0f}",
                        f"{sent / 1e9:.1f}",
                        f"{sent / step.compute / 1e9:.1f}",
                        f"{step.compute:.2f}",
                        f"{step.exchange:.2f}",
                        f"{step.hidden:.0%}",
                        f"{step.seconds:.2f}",
                        f"{step.mfu:.0%}",
                        f"{step.tokens_per_second:,.0f}",
                        f"{plan_step(planned.model, load, replace(layout, ways=USUAL), GPU).mfu:.0%}",
                    ]
                )
    return _table("One step", head, rows)


def memory_by_part() -> list[str]:
    head = "GPUs|layout|weights|their copies|gradients|optimizer|activations|logits|else|peak|at"
    rows = []
    for planned in PLANNED:
        for gpus in (8, 64, 1024):
            for layout in planned.layouts_on(gpus):
                load = _load(planned, layout) or Load(rows=1, length=planned.length, checkpointing="full")
                found = gpu_memory(planned.model, load, layout)
                parts = (found.weights, found.copies, found.gradients, found.optimizer, found.activations, found.logits)
                cells = [f"{size / 1e9:.1f}" for size in (*parts, found.temporary, found.peak)]
                rows.append([f"{planned.name}, {gpus:,}", str(layout), *cells, found.when])
    return _table(
        f"Memory of a GPU by part, GB ({GPU.usable / 1e9:.1f} are usable; the parts are not there all at once)", head, rows
    )


def gathers() -> list[str]:
    head = "ranks|hops of an all-gather, ms|" + "|".join(
        f"{each.name}: a block's weights, ms|least tokens at a time" for each in PLANNED
    )
    rows = []
    for ranks in (*SIZES, 16_384):
        group = H100_CLUSTER.group(ranks)
        cells = [f"{ranks:,}", f"{1e3 * group.latency('all-gather'):.2f}"]
        for planned in PLANNED:
            block = OURS.weight * planned.model.parameters() / planned.model.n_layers
            cells.append(f"{1e3 * group.seconds('all-gather', block):.1f}")
            cells.append(f"{least_tokens(planned.model, Layout(gpus=ranks), GPU):,}")
        rows.append(cells)
    return _table("Gathering weights over all GPUs (fsdp)", head, rows)


def batches() -> list[str]:
    head = "model|critical batch, million tokens|planned|tokens more than in tiny batches|GPUs at a row each|the same in teams of 8"
    rows = []
    for planned in PLANNED:
        batch, most = planned.rows * planned.length, int(planned.critical // planned.length)
        more = more_tokens(batch, planned.critical) - 1
        rows.append(
            [planned.name, f"{planned.critical / 1e6:.1f}", f"{batch / 1e6:.1f}", f"{more:.0%}", f"{most:,}", f"{8 * most:,}"]
        )
    return _table("The batch, and how many GPUs read a row each before it is the critical one", head, rows)


def machines() -> list[str]:
    head = "GPUs|hours between failures|saving s|checkpoint every, minutes|lost|lost, one every hour|some machine is slow"
    rows = []
    for gpus in (*SIZES, 16_384):
        state = _STATE_BYTES * LLAMA3_70B.parameters()
        saving, writing = state / gpus / _TO_HOST, state / _TO_STORE
        best, hourly = (failures(gpus, saving=saving, writing=writing, restart=_RESTART, interval=every) for every in (0.0, 3600.0))
        cells = (
            f"{best.between / 3600:,.1f}",
            f"{saving:.2f}",
            f"{best.interval / 60:.1f}",
            f"{best.lost:.2%}",
            f"{hourly.lost:.2%}",
        )
        rows.append([f"{gpus:,}", *cells, f"{slow_machine(gpus // 8, _SLOW):.0%}"])
    return _table("Failures, of the 70B's run", head, rows)


def published() -> list[str]:
    head = "source|model|GPUs|tokens/s a GPU, published|planned|off|may be off|"
    rows = []
    for each in PUBLISHED_SPEEDS:
        planned = plan_step(each.model, each.load, each.layout, GPU).tokens_per_second
        rows.append(
            [
                each.source,
                each.name + (f", tp{each.layout.tensor}" if each.layout.tensor > 1 else ""),
                f"{each.layout.gpus:,}",
                f"{each.tokens_per_second:,.0f}",
                f"{planned:,.0f}",
                f"{planned / each.tokens_per_second - 1:+.0%}",
                f"{each.margin:.0%}",
                "fitted" if each.fitted else "",
            ]
        )
    return _table("Held against what others measured", head, rows)


def _load(planned: Planned, layout: Layout) -> Load | None:
    return fitting_load(planned.model, layout, GPU, rows=planned.rows_of(layout), length=planned.length)


def _table(title: str, head: str, rows: Sequence[Sequence[str]]) -> list[str]:
    names = head.split("|")
    body = [names, ["---"] * len(names), *rows]
    return [f"### {title}", "", *("| " + " | ".join(row) + " |" for row in body)]
