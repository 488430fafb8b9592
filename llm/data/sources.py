"""Where text comes from: a file, a folder, or what every Python carries. Looked at first, read later."""

import difflib
import gzip
import os
import shutil
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from infra.store.errors import InputError
from infra.store.fingerprint import fingerprint
from llm.data import stdlib
from llm.data.config import PYTHON_STDLIB, DataConfig
from llm.data.documents import Document, SourceFile, cut_document
from llm.data.text_files import SUPPORTED, read_through, row_text, suffix

_ROWS = 1000  # lines handed over at once: one by one costs ten times as much


@dataclass(frozen=True)
class SourceVersion:
    """A source as it is now. `version` is a hash of its files' names and content: where they lie does not bear on it.

    `text_bytes` is the text in it, unpacked (of the standard library, an estimate). `licence` is empty where nobody said.
    `path` is where it was read, absolute; empty for the standard library, which each Python keeps in its own place.
    """

    kind: Literal["stdlib", "file", "folder"]
    version: str
    files: tuple[SourceFile, ...]
    summary: str
    licence: str = ""
    interpreter: str = ""
    path: str = ""

    @property
    def text_bytes(self) -> int:
        return sum(file.text_bytes for file in self.files)

    def facts(self) -> dict[str, Any]:
        """What the manifest of a dataset says of where it came from; places are no part of it."""
        return {
            "source": {"kind": self.kind, "version": self.version, "summary": self.summary},
            "sources": [{"name": file.name, "sha256": file.sha256, "bytes": file.bytes} for file in self.files],
            "licence": self.licence,
            "interpreter": self.interpreter,
        }


def inspect(path: str, config: DataConfig) -> SourceVersion:
    """Reads every byte at `path` once. Raises InputError, one sentence with file and place, for what cannot be read as text."""
    if path == PYTHON_STDLIB:
        files, interpreter = stdlib.files(), stdlib.interpreter()
        version = source_version({file.name: file.sha256 for file in files}, interpreter)
        summary = f"documentation in {len(files):,} files of {interpreter}'s standard library"
        return SourceVersion("stdlib", version, files, summary, stdlib.LICENCE, interpreter)
    root = _existing(path)
    kind: Literal["file", "folder"] = "folder" if root.is_dir() else "file"
    found, skipped = _files(root)
    read = []
    for name, file in found:
        checked = read_through(file, name, config.text_column)
        if checked:
            read.append(checked)
        elif kind == "file":
            raise InputError("empty: it holds no text", where=str(file), mend="Give a file with text.")
        else:
            skipped["empty"] += 1
    if not read:
        what = "no text in it" if skipped.total() else "an empty folder"
        looked = f" ({_counted(skipped)})" if skipped.total() else ""
        raise InputError(f"{what}{looked}", where=str(root), mend=f"Put text into it: {SUPPORTED}.")
    version = source_version({file.name: file.sha256 for file in read})
    summary = f"{len(read):,} file{'s' * (len(read) > 1)}, {sum(file.text_bytes for file in read):,} bytes of text"
    summary += f"; skipped: {_counted(skipped)}" if skipped.total() else ""
    return SourceVersion(kind, version, tuple(read), summary, path=str(root))


def source_version(hashes: Mapping[str, str], interpreter: str = "") -> str:
    """The version of a source, from the sha256 of its files by name and, of the standard library, the interpreter."""
    return fingerprint({"files": hashes, "interpreter": interpreter} if interpreter else hashes)[:16]


def source_files(path: str) -> dict[str, Path]:
    """The file at `path`, or the supported ones in a folder, by the names that `inspect` gives them, unread. Raises InputError."""
    root = _existing(path)
    return {root.name: root} if root.is_file() else dict(_files(root)[0])


def documents(path: str, config: DataConfig) -> Generator[Document, None, None]:
    """Every document at `path`, long ones cut into passages, in the order of the files' names; line ends become line feeds.

    Ids are `file:line` (1 for a .txt or .md file, which is one document) and `file:line.passage`; of the standard library,
    the dotted name. A file is read as a stream and held as a whole only where it may not be cut; a .gz is unpacked into a
    temporary file meanwhile.
    """
    if path == PYTHON_STDLIB:
        for name, module, text in stdlib.documentation():
            yield from cut_document(name, module, [text], config.max_document_bytes)
        return
    found, _ = _files(_existing(path))
    for name, file in found:
        if suffix(name) == ".jsonl":
            for number, line in enumerate(_lines(file), start=1):
                row = row_text(line, config.text_column, f"{file}, line {number}")
                if row is not None:
                    text = row.replace("\r\n", "\n").replace("\r", "\n")
                    yield from cut_document(f"{name}:{number}", name, [text], config.max_document_bytes)
        elif (lines := _not_blank(_lines(file))) is not None:
            yield from cut_document(f"{name}:1", name, lines, config.max_document_bytes)


def _existing(path: str) -> Path:
    root = Path(path).expanduser().absolute()
    try:
        if path and (root.is_file() or root.is_dir()):
            return root
        if path and root.exists():
            raise InputError("neither a file nor a folder", where=path, mend=f"Give a file or a folder: {SUPPORTED}.")
        beside = [entry.name for entry in root.parent.iterdir()] if root.parent.is_dir() else []
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path, mend="Check the path and its permissions.") from None
    near = difflib.get_close_matches(root.name, [*beside, PYTHON_STDLIB], 1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise InputError(
        "no such file or folder", where=path or "data.path", mend=f"{hint}Give a file or a folder, or {PYTHON_STDLIB}."
    )


def _files(root: Path) -> tuple[list[tuple[str, Path]], Counter[str]]:
    """(name, path) of the supported files, sorted by name, and how many others there are by suffix; hidden ones do not count."""
    if root.is_file():
        if not suffix(root.name):
            raise InputError("not a kind of file that is read here", where=str(root), mend=f"Supported are {SUPPORTED}.")
        return [(_printable(root.name), root)], Counter()
    found, skipped = [], Counter[str]()
    for folder, folders, names in os.walk(root, onerror=_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        skipped["linked folder"] += sum(Path(folder, name).is_symlink() for name in folders)
        for name in names:
            path = Path(folder, name)
            if name.startswith("."):
                continue
            if suffix(name) and path.is_file():
                found.append((_printable(path.relative_to(root).as_posix()), path))
            else:
                skipped[path.suffix.lower() or "without suffix"] += 1
    return sorted(found), skipped


def _unreadable(error: OSError) -> None:
    raise InputError(f"cannot be read ({error.strerror})", where=str(error.filename), mend="Check its permissions.")


def _printable(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")  # a name need not be UTF-8, a manifest is


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()) if count)


def _not_blank(lines: Iterator[str]) -> Iterator[str] | None:
    """The same lines, or None when there is nothing but white space: `inspect` counted that file as empty."""
    held = []
    for line in lines:
        held.append(line)
        if line.strip():
            return _chain(held, lines)
    return None


def _chain(first: list[str], rest: Iterator[str]) -> Iterator[str]:
    yield from first
    yield from rest


def _lines(file: Path) -> Iterator[str]:
    """The lines of a file, each with a line feed, streamed through `datasets`; nothing is cached, nobody is told."""
    import datasets  # seconds, and only wanted where text is read

    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # else each file is announced to the hub
    with TemporaryDirectory(prefix="slipway-source-") as folder:
        plain = Path(folder, "text.txt")
        if file.name.lower().endswith(".gz"):
            with gzip.open(file) as packed, plain.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)  # `datasets` reads what it unpacks itself in the locale's encoding
        else:
            plain.symlink_to(file)  # by its own name, [ and * in it would be read as a pattern
        rows = datasets.load_dataset(
            "text",
            data_files=str(plain),
            split="train",
            streaming=True,
            cache_dir=folder,
            encoding="utf-8-sig",
            keep_linebreaks=True,
        )
        for batch in rows.iter(batch_size=_ROWS):
            yield from batch["text"]
