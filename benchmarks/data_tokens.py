"""How fast a corpus becomes token shards: `python -m benchmarks.data_tokens [--rounds N] [--megabytes N] [--json]`.

The stage `prepare-data` whole, from the Parquet of a corpus to published shards, in turn with the library's bare
`encode_batch` on the same texts, which are in memory and whose ids are thrown away, and with `datasets.map(num_proc=2)`
from an Arrow cache to another. The text is that of the folder `books` of SLIPWAY_TEST_DATA. Memory is that of a process
of its own, which also trains the tokenizer.
"""

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import tokenizers

from benchmarks.paired import in_turn, ratio
from flows.pipeline.stage import Job
from flows.recipes.sections import TokenizerConfig
from flows.stage_settings import Splits
from flows.work import prepare_data
from infra.settings import Settings
from infra.store.folder import FolderStore
from infra.store.manifest import Thing, load, publish
from llm.data.documents import Document, cut_document
from llm.events import ignore
from llm.text.tokenizer import Tokenizer

MEGABYTES: Final = (40, 400)  # of text, at which memory is compared
FLAT: Final = 1.3
_CORPUS: Final = "datasets/books/1"
_PASSAGE: Final = 8192
_GROUP: Final = 4_000_000
_BATCH: Final = 1000  # documents that others take at once: what `datasets` does by itself
_PROCESSES: Final = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=6, help="of each contender; an interval needs six")
    parser.add_argument("--megabytes", type=float, default=0, help="of text; 0: all books, once")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--skip-memory", action="store_true", help="measure speed alone")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peak", type=float, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(json.dumps({"peak_bytes": _peak(options.peak, options.vocabulary)}))
        return
    found: dict[str, Any] = {"tokenizing": speed(options.rounds, options.megabytes, options.vocabulary)}
    if not options.skip_memory:
        found["memory"] = memory(options.vocabulary)
    print(json.dumps(found, indent=2) if options.json else text(found))


def text(found: dict[str, Any]) -> str:
    """What was measured, for people."""
    of = found["tokenizing"]
    amount = f"{of['bytes'] / 1e6:.1f} MB in {of['documents']:,} documents, {of['tokens']:,} tokens"
    lines = [f"{amount}; {of['rounds']} rounds on {of['cores']} cores"]
    lines += [f"  {name:<28}{rate:>8.2f} MB/s" for name, rate in of["mb_per_second"].items()]
    for peer in ("encode_batch", "datasets_map"):
        each = of[f"ratio_to_{peer}"]
        lines.append(f"  prepare-data to {peer}: {each['median']:.2f}x [{each['low']:.2f}, {each['high']:.2f}]")
    if "memory" in found:
        peaks = found["memory"]["peak_mb"]
        shown = ", ".join(f"{peak:.0f} MB at {size} MB of text" for size, peak in peaks.items())
        lines.append(f"  memory at its peak: {shown}: {found['memory']['ratio']:.2f}x (flat is {FLAT:g}x or less)")
    return "\n".join(lines)


def speed(rounds: int = 6, megabytes: float = 0, vocabulary: int = 4096) -> dict[str, Any]:
    """Seconds of each contender in turn, and the ratios of the stage to the others."""
    import datasets  # seconds, and a peer alone

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory(prefix="slipway-benchmark-") as name:
        folder = Path(name)
        store = FolderStore(folder / "store")
        documents = list(_documents(megabytes))
        corpus = _corpus(store, folder / "corpus", documents)
        base = _base(store, folder / "base", documents, vocabulary)
        texts = [document.text for document in documents]
        bare = tokenizers.Tokenizer.from_file(str(base.path("tokenizer.json")))
        files = [str(corpus.path(file)) for file in corpus.files]
        rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder / "cache"))
        tokens = 0

        def ours() -> None:
            nonlocal tokens
            tokens = _prepare(store, folder, {"corpus": corpus, "base": base}, None)

        def encode_batch() -> None:
            for start in range(0, len(texts), _BATCH):
                bare.encode_batch(texts[start : start + _BATCH], add_special_tokens=False)

        def datasets_map() -> None:
            cache = folder / "mapped" / "tokens.arrow"
            cache.parent.mkdir(exist_ok=True)
            rows.map(
                _encode,
                batched=True,
                num_proc=_PROCESSES,
                remove_columns=rows.column_names,
                fn_kwargs={"tokenizer": bare},
                load_from_cache_file=False,
                cache_file_name=str(cache),
            )

        for warm in (ours, encode_batch):  # libraries loaded, files read once
            warm()
        seconds = in_turn({"prepare-data": ours, "encode_batch": encode_batch, "datasets.map(num_proc=2)": datasets_map}, rounds)
        size = sum(len(each.encode()) for each in texts)
        bare_seconds, map_seconds = seconds["encode_batch"], seconds["datasets.map(num_proc=2)"]
        return {
            "bytes": size,
            "documents": len(documents),
            "tokens": tokens,
            "rounds": rounds,
            "cores": os.cpu_count(),
            "vocabulary": vocabulary,
            "seconds": seconds,
            "mb_per_second": {name: size / 1e6 / median(taken) for name, taken in seconds.items()},
            "ratio_to_encode_batch": ratio(seconds["prepare-data"], bare_seconds).document(),
            "ratio_to_datasets_map": ratio(seconds["prepare-data"], map_seconds).document(),
        }


def memory(vocabulary: int = 4096) -> dict[str, Any]:
    """The peak of a process that prepares so much text, its tokenizer trained too."""
    peaks = {}
    for size in MEGABYTES:
        words = [sys.executable, "-m", "benchmarks.data_tokens", "--peak", str(size), "--vocabulary", str(vocabulary)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        peaks[size] = json.loads(done.stdout)["peak_bytes"] / 1e6
    return {"peak_mb": peaks, "ratio": peaks[MEGABYTES[-1]] / peaks[MEGABYTES[0]]}


def _peak(megabytes: float, vocabulary: int) -> int:
    with tempfile.TemporaryDirectory(prefix="slipway-benchmark-") as name:
        folder = Path(name)
        store = FolderStore(folder / "store")
        words = [sys.executable, "-c", _WRITE, str(folder), str(megabytes)]
        subprocess.run(words, check=True)  # in a process of its own: what writing a corpus takes is not ours to count
        _prepare(store, folder, {"corpus": load(store, _CORPUS)}, TokenizerConfig(vocabulary=vocabulary))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


_WRITE: Final = """
import sys
from pathlib import Path
from benchmarks.data_tokens import _corpus, _documents
from infra.store.folder import FolderStore
folder = Path(sys.argv[1])
_corpus(FolderStore(folder / "store"), folder / "corpus", _documents(float(sys.argv[2])))
"""


def _documents(megabytes: float) -> Iterator[Document]:
    """The books in passages; more text than they are is them again, each passage with a number before it."""
    size, copy = 0.0, 0
    while True:
        for path in sorted((Path(os.environ["SLIPWAY_TEST_DATA"]) / "books").glob("*.jsonl.gz")):
            with gzip.open(path, "rt") as lines:
                for number, line in enumerate(lines, start=1):
                    whole = json.loads(line)["text"].replace("\r\n", "\n")
                    for passage in cut_document(f"{copy}:{path.name}:{number}", path.name, [whole], _PASSAGE):
                        again = f"{copy}. {passage.text}" if copy else passage.text
                        yield Document(passage.id, passage.parent, passage.source, again)
                        size += len(again.encode()) / 1e6
                        if megabytes and size >= megabytes:
                            return
        copy += 1
        if not megabytes:
            return


def _corpus(store: FolderStore, folder: Path, documents: Sequence[Document] | Iterator[Document]) -> Thing:
    """As `validate-data` publishes it: Parquet, zstd, row groups of 4 MB of text."""
    folder.mkdir()
    schema = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("id", "parent", "source", "text")])
    held: list[Document] = []
    size = 0
    with pq.ParquetWriter(folder / "corpus-00000.parquet", schema, compression="zstd", use_dictionary=["parent", "source"]) as file:

        def write() -> None:
            columns = [pa.array([getattr(each, name) for each in held], pa.string()) for name in schema.names]
            file.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=len(held))

        for document in documents:
            held.append(document)
            size += len(document.text)
            if size >= _GROUP:
                write()
                held, size = [], 0
        if held:
            write()
    about = {"kind": "corpus", "name": "books", "sources": [], "licence": "public domain", "interpreter": ""}
    return publish(store, _CORPUS, folder, about)


def _base(store: FolderStore, folder: Path, documents: Sequence[Document], vocabulary: int) -> Thing:
    """A tokenizer in the place of a base model."""
    Tokenizer.train((each.text for each in documents[:: max(1, len(documents) // 1000)]), vocabulary).save(
        folder, context_length=1024
    )
    return publish(store, "runs/base/artifacts/package", folder, {"kind": "package"})


def _prepare(store: FolderStore, folder: Path, inputs: dict[str, Thing], tokenizer: TokenizerConfig | None) -> int:
    """The stage's own work; what it published is taken away again. Returns the tokens."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        job = Job(
            store=store,
            settings=Settings(),
            key="benchmark",
            attempt=1,
            run="prepare-data-benchmark-1",
            earlier_runs=(),
            inputs=inputs,
            scratch=Path(scratch),
            observe=ignore,
            still_ours=lambda: None,
        )
        outcome = prepare_data.work(
            job, Splits(tokenizer, validation_share=0.05, test_share=0.05, weights={}, mix="keep", name="books")
        )
    for entry in list(store.list(outcome.outputs["tokens"].prefix)):
        store.delete(entry.name)
    return int(outcome.result["tokens"])


def _encode(rows: dict[str, list[str]], tokenizer: tokenizers.Tokenizer) -> dict[str, list[list[int]]]:
    return {"input_ids": [each.ids for each in tokenizer.encode_batch(rows["text"], add_special_tokens=False)]}


if __name__ == "__main__":
    main()
