"""Sources: what is wrong with a file is said with its place and mend; what is right comes back exactly, whatever its wrapping."""

import gzip
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from infra.store.errors import InputError
from llm.data.config import DataConfig
from llm.data.documents import Document
from llm.data.sources import documents, inspect

CONFIG = DataConfig()
PROSE = "A naïve reader — or a café — needs words.\n" * 300
ROWS = [{"text": "first", "year": 1}, {"text": "second\r\nline", "year": "two"}, {"text": "☃ third", "more": [None, {"a": 1}]}]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)

BAD: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.txt", b"", r"a\.txt: empty"),
    "white space": ("a.md", b"\xef\xbb\xbf \n\t\n", r"a\.md: empty"),
    "empty gzip": ("a.txt.gz", gzip.compress(b""), r"a\.txt\.gz: empty"),
    "no rows": ("a.jsonl", b"\n\n", r"a\.jsonl: empty"),
    "other kind": ("a.csv", b"a,b\n", r"a\.csv: not a kind.*\n.*\.txt, \.md and \.jsonl"),
    "binary": ("a.txt", bytes(range(256)) * 9, r"a\.txt, byte 0: a NUL byte, as binary"),
    "binary without zeros": ("a.txt", b"ok " + bytes(range(1, 256)) * 9, r"a\.txt, byte 130: .*binary"),
    "nul": ("a.txt", b"some text\0more", r"a\.txt, byte 9: a NUL"),
    "nul far in": ("a.txt", b"text" * 600_000 + b"\0", r"a\.txt, byte 2400000: a NUL"),
    "UTF-16": (
        "a.txt",
        PROSE.encode("utf-16"),
        r"byte 0: not UTF-8: it looks like UTF-16\nConvert it: iconv -f UTF-16 -t UTF-8 a\.txt",
    ),
    "UTF-16 without mark": ("a.txt", PROSE.encode("utf-16-be"), r"byte 0: .*looks like UTF-16BE"),
    "UTF-32": ("a.txt", PROSE.encode("utf-32"), r"byte 0: .*looks like UTF-32"),
    "CP1252": ("a.md", PROSE.encode("cp1252"), r"a\.md, byte 4: not UTF-8: it looks like CP1252"),
    "latin-1": ("a.txt", PROSE.replace("—", "-").encode("latin-1"), r"byte 4: .*ISO-8859-1\n.*iconv -f ISO-8859-1"),
    "Cyrillic": ("a.txt", ("привет мир " * 99).encode("cp1251"), r"byte 0: .*text in another encoding"),
    "mixed": ("a.txt", PROSE.encode() + PROSE.encode("cp1252"), rf"byte {len(PROSE.encode()) + 4}: .*parts of it are"),
    "cut in a character": ("a.txt", "caf\u00e9".encode()[:-1], r"a\.txt, byte 3: not UTF-8"),
    "latin-1 packed": ("a.txt.gz", gzip.compress(PROSE.encode("cp1252")), r"a\.txt\.gz, byte 4 unpacked: .*CP1252"),
    "truncated": ("a.jsonl.gz", gzip.compress(JSONL.encode())[:-9], r"a\.jsonl\.gz: truncated"),
    "no gzip": ("a.txt.gz", b"plain text", r"a\.txt\.gz: damaged: not gzip"),
    "no JSON": ("a.jsonl", JSONL.encode() + b"{'text': 1}\n", r"a\.jsonl, line 4: not JSON \(Expecting property name.*column 2\)"),
    "half a row": ("a.jsonl", JSONL.encode()[:-4], r"a\.jsonl, line 3: not JSON"),
    "a list": ("a.jsonl", b'["text"]\n', r'a\.jsonl, line 1: a row is an object such as {"text": \.\.\.}, this is a list'),
    "no column": ("a.jsonl", b'{"n": 1, "txt": "a"}', r'line 1: no column "text"; .* "n", "txt"\nPass --set data\.text_column=txt'),
    "null": ("a.jsonl", JSONL.encode() + b'\n{"text": null}', r'a\.jsonl, line 5: "text" is null, not a string'),
    "number": ("a.jsonl", b'{"text": NaN}', r'line 1: "text" is a number'),
    "latin-1 row": ("a.jsonl", JSONL.encode() + '{"text": "é"}'.encode("latin-1"), r"a\.jsonl, line 4, byte \d+: not UTF-8"),
    "deep": ("a.jsonl", b"[" * 100_000, r"a\.jsonl, line 1: not JSON"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named_with_the_place_and_the_mend(case: str, tmp_path: Path) -> None:
    name, content, message = BAD[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        inspect(str(tmp_path / name), CONFIG)
    assert caught.value.where.startswith(str(tmp_path / name))
    assert caught.value.mend.endswith((".", name))
    assert "\n" not in caught.value.what


def test_a_missing_path_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    for path, message in {
        str(tmp_path / "corpsu"): "Did you mean corpus",
        "pyhton-stdlib": "Did you mean python-stdlib",
        "": "data.path",
    }.items():
        with pytest.raises(InputError, match=message):
            inspect(path, CONFIG)


def test_a_folder_without_text_is_refused_and_says_what_it_saw(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an empty folder"):
        inspect(str(tmp_path), CONFIG)
    (tmp_path / "a.csv").touch()
    (tmp_path / "b.txt").touch()
    with pytest.raises(InputError, match=r"no text in it \(1 \.csv, 1 empty\)"):
        inspect(str(tmp_path), CONFIG)


def read(path: Path, config: DataConfig = CONFIG) -> list[Document]:
    return list(documents(str(path), config))


def test_a_text_file_comes_back_exactly_with_or_without_mark_carriage_returns_and_gzip(tmp_path: Path) -> None:
    text = "first line\n\nnaïve ☃\u2028 \x85 end"
    variants = {"plain": text.encode(), "marked": b"\xef\xbb\xbf" + text.encode(), "returns": text.replace("\n", "\r\n").encode()}
    for name, content in variants.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_bytes(content)
        (tmp_path / name / "b.md.gz").write_bytes(gzip.compress(content))
        assert [document.text for document in read(tmp_path / name)] == [text, text]
        assert inspect(str(tmp_path / name), CONFIG).text_bytes == 2 * len(content)


def test_rows_of_jsonl_come_back_by_line_whatever_else_they_hold(tmp_path: Path) -> None:
    content = "\ufeff" + JSONL + "\n" + json.dumps({"text": "half \ud800 a pair"}) + "\n" + json.dumps({"text": ""})
    (tmp_path / "a.jsonl").write_bytes(content.encode())
    assert inspect(str(tmp_path / "a.jsonl"), CONFIG).text_bytes > 30
    expected = [
        ("a.jsonl:1", "first"),
        ("a.jsonl:2", "second\nline"),
        ("a.jsonl:3", "☃ third"),
        ("a.jsonl:5", "half \ufffd a pair"),
        ("a.jsonl:6", ""),
    ]
    assert [(document.id, document.text) for document in read(tmp_path / "a.jsonl")] == expected
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(content.replace('"text"', '"body"').encode()))
    assert [document.text for document in read(tmp_path / "b.jsonl.gz", DataConfig(text_column="body"))] == [
        text for _, text in expected
    ]


def test_a_folder_is_read_in_the_order_of_names_whatever_characters_they_hold(tmp_path: Path) -> None:
    for name in ("b/[1]*.txt", "a ?.md", "c.txt", ".hidden.txt", ".git/x.txt", "b/skip.pdf", "b/nothing.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("" if "nothing" in name else name)
    source = inspect(str(tmp_path), CONFIG)
    assert [file.name for file in source.files] == ["a ?.md", "b/[1]*.txt", "c.txt"]
    assert source.summary == "3 files, 21 bytes of text; skipped: 1 .pdf, 1 empty"
    assert [(document.id, document.source, document.text) for document in read(tmp_path)] == [
        ("a ?.md:1", "a ?.md", "a ?.md"),
        ("b/[1]*.txt:1", "b/[1]*.txt", "b/[1]*.txt"),
        ("c.txt:1", "c.txt", "c.txt"),
    ]


def test_the_version_is_of_the_content_alone(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/a.txt").write_text("text")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    (tmp_path / "there/.hidden").touch()
    version = inspect(str(tmp_path / "here"), CONFIG).version
    assert version == inspect(str(tmp_path / "there"), CONFIG).version == inspect(str(tmp_path / "there/a.txt"), CONFIG).version
    (tmp_path / "there/a.txt").write_text("Text")
    assert version != inspect(str(tmp_path / "there"), CONFIG).version


def test_a_long_file_is_cut_into_passages_that_know_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(PROSE)
    passages = read(tmp_path, DataConfig(max_document_bytes=1000))
    assert [passage.id for passage in passages[:2]] == ["a.txt:1.1", "a.txt:1.2"]
    assert {passage.parent for passage in passages} == {"a.txt:1"}
    assert max(len(passage.text.encode()) for passage in passages) <= 1000
    assert "\n".join(passage.text for passage in passages) == PROSE.rstrip()
    assert [document.text for document in read(tmp_path, DataConfig(max_document_bytes=0))] == [PROSE]


def test_reading_tells_nobody_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a connection to {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "a.txt").write_text("text")
    reading = documents(str(tmp_path / "a.txt"), CONFIG)
    assert next(reading).text == "text"
    reading.close()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_looking_at_a_source_loads_no_heavy_library(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(JSONL.encode()))
    code = f"""
import sys
from llm.data.config import DataConfig
from llm.data.sources import documents, inspect
inspect({str(tmp_path)!r}, DataConfig()), inspect("python-stdlib", DataConfig()), next(documents("python-stdlib", DataConfig()))
print([name for name in ("numpy", "pyarrow", "pandas", "datasets", "torch", "pydantic") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


MESSY = {
    "latin1.txt": "ISO-8859-1",
    "cp1252.txt": "CP1252",
    "utf16-bom.txt": "byte 0: not UTF-8: it looks like UTF-16",
    "mixed-encodings.txt": "parts of it are",
    "broken.jsonl": "line 1: no column",
    "empty.txt": "empty",
    "nul-bytes.txt": "a NUL byte",
    "binary.txt": "binary",
    "truncated.txt.gz": "truncated",
    "ragged.csv": "not a kind of file",
}
READABLE = {
    "utf8-bom.txt": 1,
    "mixed-newlines.txt": 1,
    "mojibake.txt": 1,
    "documents.jsonl": 488,
    "long-lines.txt.gz": 1,
    "no-final-newline.txt": 1,
}


@pytest.mark.parametrize("name", MESSY)
def test_the_messy_files_are_refused_for_what_was_planted_in_them(name: str, data_folder: Path) -> None:
    with pytest.raises(InputError, match=MESSY[name]):
        inspect(str(data_folder / "messy-synthetic" / name), CONFIG)


def test_the_readable_messy_files_are_read_whole(data_folder: Path) -> None:
    found = {name: len({document.parent for document in read(data_folder / "messy-synthetic" / name)}) for name in READABLE}
    assert found == READABLE


def test_a_dataset_takes_its_name_from_the_path() -> None:
    names = {"python-stdlib": "python-stdlib", "/data/My Books_v2.jsonl.gz": "my-books-v2", "/x/ÄÖ.txt": "text", "texts/": "texts"}
    assert {path: DataConfig(path=path).dataset_name for path in names} == names
    assert DataConfig(path="/x/y.txt", name="Plays").dataset_name == "plays"
