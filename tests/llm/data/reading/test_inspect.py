"""Looking at a source: what is there is found by content, what is not is said in one sentence with the mend."""

import gzip
import json
import os
import shutil
from itertools import takewhile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra.store import open_store
from infra.store.errors import InputError
from llm.data.reading.inspect import inspect
from llm.data.reading.rows import peek, read, read_file
from llm.data.rows import Rejected, Row
from llm.data.stdlib import documentation
from tests.llm.data.reading.reading import PACK, read_bytes, read_path
from tests.llm.data.reading.test_columnar_rows import FILES, TABLE
from tests.s3_server import S3Server

TEXT = "A sentence — naïve, and long enough to be one.\n"
PLAIN = {
    "a.txt": TEXT.encode(),
    "a.md": TEXT.encode(),
    "a.jsonl": (json.dumps({"text": TEXT}) + "\n").encode(),
    "a.json": json.dumps([{"text": TEXT}]).encode(),
    "a.csv": f'text\n"{TEXT}"\n'.encode(),
    "a.tsv": f'n\ttext\n1\t"{TEXT}"\n'.encode(),
}
BAD: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.txt", b"", r"a\.txt: empty"),
    "white space": ("a.md", b"\xef\xbb\xbf \n\t\n", r"a\.md: empty"),
    "empty gzip": ("a.txt.gz", gzip.compress(b""), r"a\.txt\.gz: empty"),
    "no rows": ("a.jsonl", b"\n\n", r"a\.jsonl: empty"),
    "an empty list": ("a.json", b"[]", r"a\.json: empty"),
    "a header alone": ("a.csv", b"a,b\n", r"a\.csv: empty"),
    "an empty table": ("a.parquet", b"", r"a\.parquet: empty"),
    "other kind": ("a.pdf", b"%PDF", r"a\.pdf: not a kind of file.*\n.*\.txt, \.md, \.jsonl"),
    "no name": ("jsonl", b"{}", r"jsonl: not a kind of file"),
    "binary": ("a.txt", bytes(range(256)) * 9, r"a\.txt: binary: it holds no text"),
    "binary rows": ("a.jsonl", bytes(range(256)) * 9, r"a\.jsonl: binary: it holds no text"),
    "truncated text": ("a.txt.gz", gzip.compress(os.urandom(999).hex().encode())[:-9], r"a\.txt\.gz: truncated"),
    "no gzip": ("a.txt.gz", b"plain text", r"a\.txt\.gz: damaged: its data are not gzip, as its name says"),
    "no zstd": ("a.jsonl.zst", b"plain text", r"a\.jsonl\.zst: damaged: its data are not Zstandard"),
    "no parquet": ("a.parquet", b"plain text", r"a\.parquet: damaged: not a whole Parquet file"),
    "no arrow": ("a.arrow", b"plain text", r"a\.arrow: damaged: no Arrow stream"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_single_file_that_cannot_be_read_at_all_is_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    name, content, message = BAD[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        inspect(str(tmp_path / name))
    assert caught.value.where == str(tmp_path / name)
    assert caught.value.mend.endswith(".")
    assert "\n" not in caught.value.what


@pytest.mark.parametrize("case", [case for case in BAD if case not in {"other kind", "no name"}])
def test_in_a_folder_such_a_file_is_skipped_as_empty_or_is_one_rejected_row(case: str, tmp_path: Path) -> None:
    name, content, message = BAD[case]
    (tmp_path / name).write_bytes(content)
    (tmp_path / "z.txt").write_text(TEXT)
    rows, rejected = read_path(tmp_path)
    assert [row.id for row in rows] == ["z.txt:1"]
    assert [each.reason for each in rejected] == ([] if "empty" in message else ["unreadable-file"])


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("name", PLAIN)
def test_every_format_is_read_in_every_packing(name: str, packed: str, tmp_path: Path) -> None:
    called = f"{name}.{packed}" if packed else name
    rows, rejected = read_bytes(tmp_path, called, PACK[packed](PLAIN[name]))
    assert [row.fields["text"] for row in rows] == [TEXT]
    assert not rejected
    (found,) = inspect(str(tmp_path)).files
    assert (found.format, found.packed) == (name.partition(".")[2], packed)
    assert found.text_bytes == len(PLAIN[name])


@pytest.mark.parametrize("packed", list(PACK)[1:])
@pytest.mark.parametrize("name", ["snappy.parquet", "file.arrow", "stream.arrow"])
def test_tables_that_are_not_read_from_front_to_back_may_be_packed_too(name: str, packed: str, tmp_path: Path) -> None:
    rows, rejected = read_bytes(tmp_path, f"{name}.{packed}", PACK[packed](FILES[name]))
    assert [row.fields for row in rows] == TABLE.to_pylist()
    assert not rejected


@pytest.mark.parametrize("packed", list(PACK)[1:])
def test_an_archive_of_several_members_is_read_to_its_end(packed: str, tmp_path: Path) -> None:
    lines = [json.dumps({"n": n, "text": os.urandom(500).hex()}) + "\n" for n in range(900)]  # 0.9 MB
    content = b"".join(PACK[packed]("".join(lines[start : start + 300]).encode()) for start in (0, 300, 600))
    rows, rejected = read_bytes(tmp_path, f"a.jsonl.{packed}", content)
    assert [row.fields["n"] for row in rows] == list(range(900))
    assert not rejected


def test_what_follows_packed_data_is_not_passed_over(tmp_path: Path) -> None:
    for packed in list(PACK)[1:]:
        content = PACK[packed](b'{"n": 1}\n')
        rows, rejected = read_bytes(tmp_path, f"a.jsonl.{packed}", content + b"no archive at all")
        assert (len(rows), [(each.row, each.reason) for each in rejected]) == (1, [(2, "unreadable-file")])
        assert rejected[0].detail.endswith("to the end, as its name says; 1 row before line 2 could be read")
    rows, rejected = read_bytes(tmp_path, "b.jsonl.gz", gzip.compress(b'{"n": 1}\n') + bytes(512))  # padding, as tapes have it
    assert (len(rows), len(rejected)) == (1, 0)


def test_a_missing_path_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    for path, message in {str(tmp_path / "corpsu"): "Did you mean corpus", "pyhton-stdlib": "Did you mean python-stdlib"}.items():
        with pytest.raises(InputError, match=message):
            inspect(path)
    with pytest.raises(InputError, match="no file matches"):
        inspect(f"{tmp_path}/*.txt")


def test_a_folder_without_text_is_refused_and_says_what_it_saw(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an empty folder"):
        inspect(str(tmp_path))
    (tmp_path / "a.pdf").touch()
    (tmp_path / "b.txt").touch()
    with pytest.raises(InputError, match=r"no text in it \(1 \.pdf, 1 empty\)"):
        inspect(str(tmp_path))


def test_a_folder_is_read_in_the_order_of_names_whatever_characters_they_hold(tmp_path: Path) -> None:
    for name in ("b/[1]*.txt", "a ?.md", "c.txt", ".hidden.txt", ".git/x.txt", "b/skip.pdf", "b/nothing.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("" if "nothing" in name else name)
    (tmp_path / "d").symlink_to(tmp_path / "b")
    with open(os.fsencode(tmp_path) + b"/\xff.txt", "w") as file:  # noqa: PTH123 - a name of bytes
        file.write("raw")
    found = inspect(str(tmp_path))
    names = ["\\xff.txt", "a ?.md", "b/[1]*.txt", "c.txt"]
    assert [file.name for file in found.files] == names
    assert found.summary == "4 files (1 md, 3 txt), 24 bytes of text; skipped: 1 .pdf, 1 empty, 1 linked folder"
    assert [(item.id, item.source, item.fields["text"]) for item in read(found) if isinstance(item, Row)] == [
        (f"{name}:1", name, "raw" if "xff" in name else name) for name in names
    ]


def test_a_pattern_takes_the_files_it_matches_by_the_names_below_it(tmp_path: Path) -> None:
    for name in ("x/a.txt", "x/b.md", "x/.c.txt", "x/y/d.txt", "e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(name)
    for pattern, names in {
        "x/*.txt": ["a.txt"],
        "*/*": ["x/a.txt", "x/b.md"],
        "**/*.txt": ["e.txt", "x/a.txt", "x/y/d.txt"],
    }.items():
        assert [file.name for file in inspect(f"{tmp_path}/{pattern}").files] == names


def test_the_version_is_of_the_content_alone(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/a.txt").write_text("text")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    (tmp_path / "there/.hidden").touch()
    version = inspect(str(tmp_path / "here")).version
    assert version == inspect(str(tmp_path / "there")).version == inspect(str(tmp_path / "there/a.txt")).version
    (tmp_path / "there/a.txt").write_text("Text")
    assert version != inspect(str(tmp_path / "there")).version


def test_a_file_that_may_not_be_read_is_one_rejected_row(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.parquet"):
        (tmp_path / name).write_text(TEXT)
    found = inspect(str(tmp_path))
    (tmp_path / "a.txt").unlink()  # root may read anything: gone is as good as forbidden
    (tmp_path / "c.parquet").unlink()
    items = list(read(found))
    assert [item.source for item in items] == ["a.txt", "b.txt", "c.parquet"]
    assert [isinstance(item, Row) for item in items] == [False, True, False]


def test_a_file_that_was_written_to_since_it_was_looked_at_is_not_read_as_if_it_were_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n')
    found = inspect(str(tmp_path))
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    (item,) = read(found)
    assert isinstance(item, Rejected)
    assert item.detail == "a.jsonl: changed since it was looked at"


def test_the_first_good_rows_are_shown(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('bad\n{"n": 1}\n{"n": 2}\n')
    (tmp_path / "b.jsonl").write_text('{"n": 3}\n{"n": 4}\n')
    assert [row.fields["n"] for row in peek(inspect(str(tmp_path)), 3)] == [1, 2, 3]


def test_a_file_is_read_on_behind_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": 1}\nbad\n\n{"n": 2}\nbad\n')
    (file,) = inspect(str(tmp_path)).files
    assert [getattr(item, "number", None) or getattr(item, "row", None) for item in read_file(file, start=2)] == [4, 5]


def test_what_a_manifest_says_of_a_source_names_no_place(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    found = inspect(str(tmp_path))
    facts = found.facts()
    assert facts["sources"] == [{"name": "a.txt", "sha256": found.files[0].sha256, "bytes": len(TEXT.encode())}]
    assert facts["source"] == {"kind": "folder", "version": found.version, "summary": found.summary}
    assert str(tmp_path) not in json.dumps(facts)


def test_the_standard_library_is_read_by_modules() -> None:
    found = inspect("python-stdlib")
    assert (found.kind, found.licence) == ("stdlib", "PSF-2.0")
    assert found.interpreter.startswith("CPython 3.")
    module = next(file for file in found.files if file.name == "abc.py")
    items = [item for item in read_file(module) if isinstance(item, Row)]
    upto = takewhile(lambda each: each[1] <= "abc", documentation())
    expected = [(name, text) for name, source, text in upto if source == "abc"]
    assert [(item.id, item.fields["text"]) for item in items] == expected
    assert {item.source for item in items} == {"abc"}


def test_how_much_text_is_packed_in_a_large_file_is_estimated(tmp_path: Path) -> None:
    lines = "".join(f"{n} {n * 7919 % 10007} some words that repeat\n" for n in range(100_000))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(lines.encode()))
    assert 0.5 < inspect(str(tmp_path)).text_bytes / len(lines) < 2
    pq.write_table(TABLE, tmp_path / "b.parquet")
    assert inspect(str(tmp_path / "b.parquet")).text_bytes > 1000


def test_a_bucket_is_a_source_like_a_folder(swift: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swift.use(monkeypatch)
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path / "cache"))
    store = open_store(f"s3://{swift.bucket}/{tmp_path.name}")
    for name, content in {
        "b.jsonl": b'{"n": 1}\nbad\n',
        "a.txt": TEXT.encode(),
        "x/c.md": b"c",
        "x/.d.md": b"d",
        "e.pdf": b"",
    }.items():
        store.write(f"set/{name}", content)
    found = inspect(f"{store.url}/set")
    assert (found.kind, [file.name for file in found.files], found.skipped) == ("s3", ["a.txt", "b.jsonl", "x/c.md"], {".pdf": 1})
    assert [item.source for item in read(found)] == ["a.txt", "b.jsonl", "b.jsonl", "x/c.md"]
    assert [file.name for file in inspect(f"{store.url}/set/*.jsonl").files] == ["b.jsonl"]
    assert [file.name for file in inspect(f"{store.url}/set/**/*.md").files] == ["x/c.md"]
    assert [file.name for file in inspect(f"{store.url}/set/a.txt").files] == ["a.txt"]
    assert [file.name for file in inspect(store.url).files] == ["set/a.txt", "set/b.jsonl", "set/x/c.md"]
    with pytest.raises(InputError, match="nothing is there"):
        inspect(f"{store.url}/nothing")
    with pytest.raises(InputError, match="binary"):
        store.write("set/z.txt", bytes(range(256)) * 9)
        inspect(f"{store.url}/set/z.txt")
