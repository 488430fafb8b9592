"""Sources of rows, one grammar for all: look at one with `inspect`, then read it as a whole, by files or by spans."""

from llm.data.reading.address import GRAMMAR
from llm.data.reading.found import Found, FoundFile, Span
from llm.data.reading.inspect import inspect, source_version
from llm.data.reading.rows import peek, read, read_file, read_span
from llm.data.reading.spans import spans

__all__ = ["GRAMMAR", "Found", "FoundFile", "Span", "inspect", "peek", "read", "read_file", "read_span", "source_version", "spans"]
