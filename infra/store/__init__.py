"""The ground floor: immutable things by name and hash, in a folder or an S3 bucket."""

from pathlib import Path

from infra.store.errors import InputError
from infra.store.folder import FolderStore
from infra.store.protocol import Store


def open_store(url: str) -> Store:
    """The store at a folder's path (or `file://` URL). Opening touches nothing."""
    if url.startswith("file://"):
        url = url.removeprefix("file://")
    if "://" in url:
        raise InputError(f"no store is known for {url.split('://')[0]}://", where=url, mend="Set SLIPWAY_STORE to a folder.")
    return FolderStore(Path(url).expanduser())
