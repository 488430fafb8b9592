"""Which text is taken, and what is expected of it. Loads without any heavy library: recipes, plans and forms stand on it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from infra.store.fingerprint import RUNTIME
from llm.config import Bounds, out_of_bounds
from llm.data.cleaning.config import NO_LIMITS, CleaningConfig
from llm.data.expectations import Expectations, LabelExpectations

PYTHON_STDLIB: Final = "python-stdlib"
"""The path that stands for the documentation which every Python carries."""
PACKED: Final = (".gz", ".zst", ".bz2", ".xz")
"""The suffixes of compressed files."""
CURATED: Final = CleaningConfig(
    repair=False,
    html="keep",
    languages=(),
    quality=NO_LIMITS,
    boilerplate=False,
    pii="ignore",
    duplicates="exact",
)
"""For text that was written with care: repetitions are left out, and nothing else is touched."""
EXAMPLES: Final = CleaningConfig(duplicates="exact")
"""For rows to be finetuned on: near repetitions are counted and stay."""


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One source of a mixture."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"use_attribute_docstrings": True, "extra": "forbid"}

    path: Annotated[str, RUNTIME]
    """Where it is, in the grammar of `data.path`."""
    name: str = ""
    """What its documents are called by; left empty, it is made from the path."""
    weight: Annotated[float, Bounds(ge=0)] = 0.0
    """Its share of the training tokens, in proportion to the weights of the others. Without any, all is taken as it is."""
    text_column: str = ""
    """The column of the text. Left empty, it is found, and said."""

    @property
    def source_name(self) -> str:
        """Its name: [a-z0-9-]."""
        return dataset_name(self.path, self.name)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the text is, how it becomes documents, and what is expected of it."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"use_attribute_docstrings": True, "extra": "forbid"}

    path: Annotated[str, RUNTIME] = PYTHON_STDLIB
    """A file, folder or glob of text, Markdown, JSON lines, CSV, TSV, Parquet or Arrow, plain or compressed; s3://BUCKET/PREFIX;
    hf://OWNER/NAME; or python-stdlib, the documentation that every Python carries."""
    sources: tuple[SourceConfig, ...] = ()
    """Several sources, mixed by weight, in the place of `path`."""
    mix: Literal["keep", "once"] = "keep"
    """Of several sources: as many training tokens as there are, a light one less often and a heavy one more often than once, four
    times at most; or as many as can be had without repeating any."""
    text_column: str = ""
    """The column of the text, of rows. Left empty, it is found, and said."""
    name: Annotated[str, RUNTIME] = ""
    """The dataset's name: a-z, 0-9 and hyphens. Left empty, it is made from the path."""
    max_document_bytes: Annotated[int, Bounds(ge=0)] = 8192
    """Longer documents are cut into passages, at blank lines where possible, in UTF-8 bytes. 0 never cuts."""
    validation_share: Annotated[float, Bounds(gt=0, lt=0.5)] = 0.05
    """Share of the documents that training never sees and that are looked at while it runs."""
    test_share: Annotated[float, Bounds(gt=0, lt=0.5)] = 0.05
    """Share of the documents that are kept for the evaluation alone."""
    workers: Annotated[int, Bounds(ge=0), RUNTIME] = 0
    """Processes that read and clean, or tasks at once where RAY_ADDRESS names a cluster. 0: as many as there are cores."""
    curated: bool = False
    """Whether the text was written and chosen with care, as that of python-stdlib is: exact repetitions are left out, and nothing
    else is touched."""
    cleaning: CleaningConfig = CleaningConfig()
    """What is mended in a document, and which documents are left out. Not read where the text is curated."""
    expectations: Expectations = Expectations()
    """What the documents must be like; a failing expectation stops everything that would come after."""

    @property
    def dataset_name(self) -> str:
        """The dataset's name in the store: [a-z0-9-]."""
        names = [source.source_name for source in self.sources]
        return dataset_name(self.path, self.name or "-".join(names))

    @property
    def mixture(self) -> tuple[SourceConfig, ...]:
        """Every source, also where there is one."""
        return self.sources or (SourceConfig(path=self.path, text_column=self.text_column),)

    @property
    def rules(self) -> CleaningConfig:
        """What is done to the documents."""
        known = all(source.path == PYTHON_STDLIB for source in self.mixture) and self.cleaning == CleaningConfig()
        return CURATED if self.curated or known else self.cleaning

    def problems(self, where: str = "data.") -> list[str]:
        """Everything that is wrong with it, one phrase each."""
        names = [source.source_name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        found = [f"{where}sources: {name!r} is the name of two sources: give each a name of its own" for name in twice]
        for number, source in enumerate(self.sources):
            found += out_of_bounds(source, f"{where}sources.{number}.")
        if any(source.weight for source in self.sources) and not all(source.weight for source in self.sources):
            found.append(f"{where}sources: some have a weight and some have none: give one to each, or to none")
        if self.sources and self.text_column:
            found.append(f"{where}text_column is said, but {where}sources take its place: name the column of each source")
        if self.curated and self.cleaning != CleaningConfig():
            found.append(f"{where}cleaning is set, but {where}curated says that nothing is to be cleaned")
        return [*out_of_bounds(self, where), *found, *self.expectations.problems(f"{where}expectations.")]


@dataclass(frozen=True, kw_only=True)
class ClassificationData:
    """Where the labelled texts are, and what is expected of them."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"use_attribute_docstrings": True, "extra": "forbid"}

    path: Annotated[str, RUNTIME] = ""
    """Rows with a text and a label, in the grammar of `data.path`; or python-stdlib: which part of the standard library a
    docstring belongs to."""
    text_column: str = ""
    """The column of the text. Left empty, it is found, and said."""
    label_column: str = ""
    """The column of the label. Left empty, it is found, and said."""
    on_invalid: Literal["refuse", "drop"] = "refuse"
    """What to do with a row in which something is wrong: refuse them all, naming the first, or leave the wrong ones out."""
    name: Annotated[str, RUNTIME] = ""
    """The dataset's name: a-z, 0-9 and hyphens. Left empty, it is made from the path."""
    validation_share: Annotated[float, Bounds(gt=0, lt=0.5)] = 0.1
    """Share of the texts that training never sees and that are looked at while it runs; python-stdlib is split as in data."""
    test_share: Annotated[float, Bounds(gt=0, lt=0.5)] = 0.1
    """Share of the texts that are kept for the evaluation alone; python-stdlib is split as in data."""
    cleaning: CleaningConfig = EXAMPLES
    """What is mended in a text, and which are left out, as far as it suits labelled texts: no rule on form, markup or language."""
    expectations: LabelExpectations = LabelExpectations()
    """What the rows must be like; a failing expectation stops everything that would come after."""

    @property
    def dataset_name(self) -> str:
        """The dataset's name in the store: [a-z0-9-]."""
        return dataset_name(self.path, self.name)


def dataset_name(path: str, name: str) -> str:
    """A name for what lies at `path`, where `name` does not give one: [a-z0-9-]."""
    stem = re.sub(r"^(s3|hf)://|[@:#][^/]*$", "", path) if "://" in path else str(Path(path).expanduser().absolute())
    stem = stem.rstrip("/*").rpartition("/")[2]
    for suffix in (*PACKED, ".txt", ".md", ".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow"):
        stem = stem.removesuffix(suffix)
    return re.sub(r"[^a-z0-9]+", "-", (name or stem).lower()).strip("-") or "text"
