"""What a compressor makes of the same text: xz knows no language, only repetition."""

import lzma
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from infra.store.errors import InputError

_LARGEST_DICTIONARY = 1_536 * 2**20  # what LZMA2 can compress with, in bytes


def xz(documents: Iterable[str]) -> float:
    """Bits per byte of `xz -9e` on the documents, joined by newlines into one file. Raises InputError where there is no text."""
    held_out = _joined(documents)
    return 8 * _compressed(held_out) / len(held_out)


def xz_after(training: Iterable[str], documents: Iterable[str]) -> float:
    """Bits per byte that the documents add to a file which begins with the training text: xz may refer back to all of it.

    The fairer rival of a model that has learnt from that text. Compresses the training text twice, on two cores where there
    are two, at about 1 MB/s each and with about 12 bytes of memory a byte.
    """
    learnt, held_out = _joined(training), _joined(documents)
    with ThreadPoolExecutor(2) as pool:  # lzma lets go of the interpreter's lock
        before, after = pool.map(_compressed, (learnt, learnt + b"\n" + held_out))
    return 8 * (after - before) / len(held_out)


def _joined(documents: Iterable[str]) -> bytes:
    text = "\n".join(document for document in documents if document).encode()
    if not text:
        raise InputError("no text to compress", where="evaluate", mend="Give documents with text.")
    return text


def _compressed(text: bytes) -> int:
    """The size of the .xz file. A dictionary of the text's own size reaches all of it, and spares the 670 MB of level 9's own."""
    dictionary = min(max(len(text), 4096), _LARGEST_DICTIONARY)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}]
    return len(lzma.compress(text, filters=filters))
