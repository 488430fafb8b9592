"""The sources of a corpus, looked at: one, or several that are told apart by name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from llm.data.config import DataConfig
from llm.data.gathering.columns import first_column
from llm.data.gathering.plan import Source
from llm.data.reading.found import Found, source_version
from llm.data.reading.inspect import inspect


@dataclass(frozen=True)
class CorpusSources:
    """What is gathered, and the same as one source: its files under `name/file` where there are several.

    path: where it was read, of several by name; empty for the standard library.
    """

    each: tuple[Source, ...]
    whole: Found
    path: str | Mapping[str, str]

    @property
    def place(self) -> str:
        """Where it was read, in words."""
        return self.path if isinstance(self.path, str) else ", ".join(self.path.values())


def corpus_sources(data: DataConfig) -> CorpusSources:
    """Looks at every source once. Raises InputError for the first that cannot be read."""
    found = {source.source_name: inspect(source.path) for source in data.mixture}
    for source in data.mixture:  # a column that is not there is said before anything starts
        first_column(found[source.source_name], source.text_column)
    several = len(found) > 1
    each = tuple(
        Source(found[source.source_name], source.source_name if several else "", source.text_column) for source in data.mixture
    )
    if not several:
        return CorpusSources(each, each[0].found, each[0].found.path)
    return CorpusSources(each, _together(found), {name: one.path for name, one in found.items()})


def _together(found: Mapping[str, Found]) -> Found:
    files = tuple(replace(file, name=f"{name}/{file.name}") for name, one in found.items() for file in one.files)
    interpreter = next((one.interpreter for one in found.values() if one.interpreter), "")
    return Found(
        "mixture",
        source_version({file.name: file.sha256 for file in files}, interpreter),
        files,
        {},
        "; ".join(f"{name}: {one.summary}" for name, one in found.items()),
        ", ".join(dict.fromkeys(one.licence for one in found.values() if one.licence)),
        interpreter,
    )
