"""A text file: one row, whatever its line ends and its encoding, without the lines that cannot be decoded."""

from collections import Counter
from collections.abc import Iterable, Iterator

from llm.data.reading.encodings import BINARY, HEAD, NO_TEXT, UNDECODABLE, LineDecoder, as_utf8, judge, shown
from llm.data.reading.origin import Origin
from llm.data.reading.unpack import UnreadableError
from llm.data.rows import Rejected, Row


def text_rows(chunks: Iterable[bytes], origin: Origin, encodings: Counter[str]) -> Iterator[Row | Rejected]:
    """A row of `{"text": ...}`, numbered 1, after the lines that cannot be decoded; none of blank text.

    Line ends become line feeds. encodings: is told how many lines are in which. Raises UnreadableError for a binary file, and where
    the stream breaks off: half a document is none.
    """
    data = b"".join(chunks)
    encoding = judge(data[:HEAD])
    if encoding == BINARY:
        raise UnreadableError(NO_TEXT, "Give text, or leave the file out.")
    data = b"".join(as_utf8([data], encoding))
    try:
        text = data.decode()
        encodings[encoding] += text.count("\n") or 1
    except UnicodeDecodeError:
        decoder, kept = LineDecoder(encoding), []
        for number, line in enumerate(data.splitlines(keepends=True), start=1):
            decoded = decoder.decode(line)
            if decoded is None:
                yield origin.rejected(number, "undecodable", UNDECODABLE, shown(line))
            else:
                kept.append(decoded)
        encodings.update(decoder.tally())
        text = "".join(kept)
    if text.strip():
        yield origin.row(1, {"text": text.replace("\r\n", "\n").replace("\r", "\n")})
