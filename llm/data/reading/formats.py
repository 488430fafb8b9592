"""Which files are read here: a format and a packing, both told by the name."""

from collections.abc import Mapping
from typing import Final

SUPPORTED: Final = ".txt, .md, .jsonl, .json, .csv, .tsv, .parquet and .arrow, plain or packed as .gz, .zst, .bz2 or .xz"
PACKINGS: Final = ("gz", "zst", "bz2", "xz")
_FORMATS: Final[Mapping[str, str]] = {
    ".txt": "txt",
    ".md": "md",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
TEXT: Final = ("txt", "md")
TABLES: Final = ("csv", "tsv")
COLUMNAR: Final = ("parquet", "arrow")


def format_of(name: str) -> tuple[str, str]:
    """(format, packing) of a file name, such as ("jsonl", "gz"); ("", "") for what is not read here."""
    stem, packed = name.lower(), ""
    for known in PACKINGS:
        if stem.endswith(f".{known}"):
            stem, packed = stem.removesuffix(f".{known}"), known
            break
    for suffix, form in _FORMATS.items():
        if stem.endswith(suffix):
            return form, packed
    return "", ""
