"""Data sets of the Hugging Face hub, or of a local folder laid out as one, streamed through `datasets`."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from infra.store.errors import InputError
from infra.store.fingerprint import fingerprint
from infra.store.manifest import known_sha256
from llm.data.reading.address import HubAddress
from llm.data.reading.found import FoundFile
from llm.data.reading.origin import Origin
from llm.data.reading.unpack import UnreadableError
from llm.data.rows import Row

_MEND: Final = "Check the name, the revision and the network; a private data set needs `hf auth login` or HF_TOKEN."


def find_split(address: HubAddress) -> tuple[FoundFile, str]:
    """The data set's split as one file, and its licence as the hub's card states it.

    Without one in the address, the split is `train` or the only one. The revision is resolved: what is read later is what was found
    now. Raises InputError, in one sentence, for whatever the hub or the folder says no to.
    """
    revision, licence = ("", "") if address.local else _on_hub(address)
    pinned = replace(address, revision=revision)
    with TemporaryDirectory(prefix="slipway-hub-") as folder:
        splits = _load(pinned, folder)
        split = _chosen(address, list(splits))
    found = replace(pinned, split=split)
    name = "/".join(part for part in (Path(address.name).name if address.local else address.name, address.config, split) if part)
    digest, size = _content(Path(address.name)) if address.local else (revision, 0)
    return FoundFile(name, digest, size, "hub", "", str(found), text_bytes=size), licence


def hub_rows(address: HubAddress, origin: Origin, columns: Sequence[str] = ()) -> Iterator[Row]:
    """Every row of the split, numbered from 1. Raises UnreadableError where the stream breaks off."""
    with TemporaryDirectory(prefix="slipway-hub-") as folder:
        rows = _load(address, folder)[address.split]
        if columns and rows.column_names and set(columns) <= set(rows.column_names):
            rows = rows.select_columns([name for name in rows.column_names if name in columns or name == origin.id_column])
        stream, number = iter(rows), 0
        while True:
            try:
                row = next(stream, None)
            except Exception as error:  # of each format's reader, and of the network
                raise UnreadableError(f"cannot be read on ({_first_line(error)})") from None
            if row is None:
                return
            number += 1
            yield origin.row(number, row)


def _load(address: HubAddress, folder: str) -> Any:
    import datasets  # seconds, and only wanted for the hub

    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # else each data set read is announced to the hub
    datasets.logging.set_verbosity(logging.CRITICAL)  # what is wrong is said once, by us
    try:
        return datasets.load_dataset(
            address.name,
            address.config or None,
            revision=address.revision or None,
            streaming=True,
            cache_dir=folder if address.local else None,
        )
    except Exception as error:  # the network, the hub, its card or a file: all are the source
        raise InputError(f"cannot be read ({_first_line(error)})", where=str(address), mend=_MEND) from None


def _on_hub(address: HubAddress) -> tuple[str, str]:
    """(revision, licence) as the hub has them now."""
    from huggingface_hub import HfApi, errors  # only wanted for the hub

    try:
        info = HfApi().dataset_info(address.name, revision=address.revision or None)
    except errors.GatedRepoError:
        what = "gated: its owner gives access on its page"
        raise InputError(what, where=str(address), mend=_MEND) from None
    except errors.RevisionNotFoundError:
        raise InputError(f"no revision {address.revision!r}", where=str(address), mend=_MEND) from None
    except errors.RepositoryNotFoundError:
        raise InputError("no such data set, or a private one", where=str(address), mend=_MEND) from None
    except Exception as error:  # the network or the hub
        raise InputError(f"cannot be looked up ({_first_line(error)})", where=str(address), mend=_MEND) from None
    licence = info.card_data.get("license", "") if info.card_data else ""
    return info.sha or "", licence if isinstance(licence, str) else ", ".join(map(str, licence))


def _chosen(address: HubAddress, splits: list[str]) -> str:
    known = ", ".join(splits) or "none"
    if address.split:
        if address.split in splits:
            return address.split
        raise InputError(
            f"no split {address.split!r}; its splits are {known}", where=str(address), mend="Name one of them after #."
        )
    if "train" in splits or len(splits) == 1:
        return "train" if "train" in splits else splits[0]
    raise InputError(f"which split is meant? Its splits are {known}", where=str(address), mend="Name one of them after #.")


def _content(folder: Path) -> tuple[str, int]:
    """(hash, bytes) of all files in a folder but hidden ones."""
    hashes, size = {}, 0
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(parent, name) for name in sorted(names) if not name.startswith(".")):
            hashes[os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")] = known_sha256(path)
            size += path.stat().st_size
    return fingerprint(hashes), size


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(". ")
