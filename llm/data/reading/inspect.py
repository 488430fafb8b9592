"""What lies at an address: every file by its hash, format and encoding. Rows are read later."""

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from infra.store import open_store
from infra.store.errors import InputError
from infra.store.manifest import known_sha256
from llm.data import stdlib
from llm.data.config import PYTHON_STDLIB
from llm.data.reading.address import HubAddress, LocalAddress, StoreAddress, parse_address
from llm.data.reading.columnar_rows import row_groups
from llm.data.reading.encodings import HEAD, judge
from llm.data.reading.formats import COLUMNAR, SUPPORTED, format_of
from llm.data.reading.found import Found, FoundFile, Kind, source_version
from llm.data.reading.hub import find_split
from llm.data.reading.listing import Listing, list_local, list_store
from llm.data.reading.rows import local_path, read_file
from llm.data.reading.unpack import UnreadableError, chunks
from llm.data.rows import Row

_LOOKED_AT: Final = 1000  # rows of a single file, for a good one
_SAMPLE: Final = 1 << 16


def inspect(path: str) -> Found:
    """The files at an address (`address.GRAMMAR`) by their names, each read through once for its hash.

    Raises InputError, one sentence, where nothing is there, nothing in it is supported or has anything in it, and for a single file
    that cannot be read at all. In a folder such a file stays: it gives one rejected row.
    """
    address = parse_address(path)
    if isinstance(address, LocalAddress):
        listing = list_local(address, path)
        return _found("file" if listing.single else "folder", listing)
    if isinstance(address, StoreAddress):
        return _found("s3", list_store(open_store(address.store), address))
    if isinstance(address, HubAddress):
        file, licence = find_split(address)
        summary = f"{file.name}, {'content' if address.local else 'revision'} {file.sha256[:12]}"
        return Found("hub", source_version({file.name: file.sha256}), (file,), {}, summary, licence, path=path)
    return _stdlib()


def _stdlib() -> Found:
    files = tuple(
        FoundFile(file.name, file.sha256, file.bytes, "stdlib", "", PYTHON_STDLIB, text_bytes=file.text_bytes)
        for file in stdlib.files()
    )
    interpreter = stdlib.interpreter()
    version = source_version({file.name: file.sha256 for file in files}, interpreter)
    summary = f"documentation in {len(files):,} files of {interpreter}'s standard library"
    return Found("stdlib", version, files, {}, summary, stdlib.LICENCE, interpreter)


def _found(kind: Kind, listing: Listing) -> Found:
    looked = [_look(name, location) for name, location in listing.locations.items()]
    files = tuple(file for file in looked if file is not None)
    if listing.single:
        _check_readable(files, listing.where)
    skipped = listing.skipped + Counter({"empty": looked.count(None)})
    if not files:
        what = f"no text in it ({_counted(skipped)})" if skipped else "an empty folder"
        raise InputError(what, where=listing.where, mend=f"Put text into it: {SUPPORTED}.")
    version = source_version({file.name: file.sha256 for file in files})
    return Found(kind, version, files, dict(sorted(skipped.items())), _summary(files, skipped), path=listing.where)


def _look(name: str, location: str) -> FoundFile | None:
    """The file; None where nothing but white space is in it. One that may not be read is found all the same: reading it tells."""
    form, packed = format_of(name)
    file = FoundFile(name, "", 0, form, packed, location)
    path = local_path(file)
    try:
        size = path.stat().st_size
        file = replace(file, sha256=known_sha256(path), bytes=size, text_bytes=size)
    except OSError:
        return file
    if form in COLUMNAR:
        return replace(file, text_bytes=_unpacked_bytes(path, size) if form == "parquet" else size) if size else None
    head, whole = _head(path, packed)
    if whole and not head.strip():
        return None
    estimate = len(head) if whole else size
    if packed and head and not whole:
        estimate = round(size * len(head[:_SAMPLE]) / len(zlib.compress(head[:_SAMPLE])))
    return replace(file, encoding=judge(head), text_bytes=estimate)


def _head(path: Path, packed: str) -> tuple[bytes, bool]:
    """(the first bytes, unpacked; whether they are all)."""
    head = b""
    try:
        for chunk in chunks(path, packed):
            head += chunk
            if len(head) > HEAD:
                return head[:HEAD], False
    except UnreadableError:
        return head, False  # damaged behind them: what there is says something of the encoding
    return head, True


def _unpacked_bytes(path: Path, size: int) -> int:
    try:
        return sum(unpacked for _, unpacked in row_groups(path))
    except UnreadableError:
        return size


def _check_readable(files: Sequence[FoundFile], where: str) -> None:
    """Raises InputError for a single file of which not one row can be read."""
    rejected = 0
    for item in read_file(files[0]) if files else ():
        if isinstance(item, Row) or rejected == _LOOKED_AT:
            return
        rejected += 1
        if item.reason == "unreadable-file":
            what = item.detail.removeprefix(f"{item.source}: ")
            raise InputError(what, where=where, mend="Copy or download it again, or give another file.")
    if not rejected:
        raise InputError("empty: it holds no rows", where=where, mend="Give a file with text.")


def _summary(files: Sequence[FoundFile], skipped: Mapping[str, int]) -> str:
    kinds = Counter(".".join(part for part in (file.format, file.packed) if part) for file in files)
    encodings = Counter(file.encoding for file in files if file.encoding not in {"", "utf-8"})
    said = (
        f"{len(files):,} file{'s' * (len(files) > 1)} ({_counted(kinds)}), {sum(file.text_bytes for file in files):,} bytes of text"
    )
    said += f"; encodings beside UTF-8: {_counted(encodings)}" if encodings else ""
    return said + (f"; skipped: {_counted(skipped)}" if skipped else "")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()) if count)
