"""What the tests of gathering gather, and how they compare what comes of it."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from infra.store.protocol import Store
from llm.data.cleaning.config import CleaningConfig
from llm.data.gathering.gather import Gathered, gather
from llm.data.gathering.plan import Source
from llm.data.reading.inspect import inspect

PART_BYTES = 4_000
_WORDS = "the of and to river stone winter letter captain garden harbour silver morning bridge candle forest a in was that".split()


def sentences(count: int, seed: int) -> str:
    choose = random.Random(seed)
    return " ".join(" ".join(choose.choices(_WORDS, k=12)).capitalize() + "." for _ in range(count))


def write_source(folder: Path) -> Path:
    """Three files of lines, one of text: with repetitions across files, personal data, rows that are no rows, empty ones."""
    folder.mkdir(parents=True)
    texts = [sentences(4, seed) for seed in range(60)]
    texts[20], texts[45] = texts[3], texts[7].replace(".", " ;").upper()
    texts[30] = ""
    texts[50] += " Write to ada@example.org or ada@example.com."
    texts[51] = f"<p>{texts[51]}</p>"
    rows = [json.dumps({"id": f"r{number}", "text": text, "n": number}) for number, text in enumerate(texts)]
    rows[10] = "{not json"
    rows[11] = json.dumps({"id": "r11", "body": "another column"})
    for number in range(3):
        (folder / f"{number}.jsonl").write_text("\n".join(rows[number * 20 : number * 20 + 20]) + "\n")
    (folder / "letter.txt").write_text("\n\n".join(sentences(10, seed) for seed in range(100, 105)))
    return folder


def gathered(path: Path, store: Store, folder: Path, config: CleaningConfig | None = None, **more: Any) -> Gathered:
    more = {"max_document_bytes": 2000, "part_bytes": PART_BYTES, **more}
    return gather([Source(inspect(str(path)))], config or CleaningConfig(), store=store, key="k", folder=folder, **more)


def written(folder: Path) -> dict[str, str]:
    """Every file that a gathering left, by its hash."""
    paths = [*(folder / "corpus").iterdir(), folder / "rejected.parquet", folder / "findings.parquet"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


def documents(result: Gathered) -> list[dict[str, Any]]:
    return [row for path in sorted(result.corpus.iterdir()) for row in rows(path)]
