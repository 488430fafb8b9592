"""The ground floor: immutable things by name and hash, in a folder or an S3 bucket."""

from pathlib import Path

from infra.store.errors import InputError
from infra.store.folder import FolderStore
from infra.store.protocol import Store
from infra.store.s3 import S3Store


def open_store(url: str) -> Store:
    """The store at a folder's path (or `file://` URL) or at `s3://bucket/prefix`. Opening touches nothing."""
    if url.startswith("s3://"):
        return S3Store.at(url)
    if url.startswith("file://"):
        url = url.removeprefix("file://")
    if "://" in url:
        raise InputError(
            f"no store is known for {url.split('://')[0]}://",
            where=url,
            mend="Set SLIPWAY_STORE to a folder or to s3://BUCKET/PREFIX.",
        )
    return FolderStore(Path(url).expanduser())


def local_file(place: str) -> Path:
    """The file at a place in a store (its URL, a slash, a name): where it lies, or this machine's copy of it."""
    folder, _, name = place.rpartition("/")
    return open_store(folder).get_file(name)
