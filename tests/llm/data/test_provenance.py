"""A source looked at again: what changed, what is missing, what is as it was; and nothing raised where it has gone its way."""

from pathlib import Path

import pytest

from llm.data.config import PYTHON_STDLIB
from llm.data.provenance import Found, look_again
from llm.data.reading.found import source_version
from llm.data.reading.inspect import inspect


def test_each_file_of_a_folder_is_the_same_changed_or_missing(tmp_path: Path) -> None:
    for name in ("a.txt", "deep/b.md", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"the text of {name}\n")
    source = inspect(str(tmp_path))
    hashes = {file.name: file.sha256 for file in source.files}
    assert source_version(hashes) == source.version
    (tmp_path / "c.txt").write_text("another text\n")
    (tmp_path / "deep/b.md").unlink()
    (tmp_path / "new.txt").write_text("of no concern\n")
    found = look_again("folder", str(tmp_path), hashes)
    assert dict(found.states) == {"a.txt": "same", "c.txt": "changed", "deep/b.md": "missing"}
    assert found.bytes == sum((tmp_path / name).stat().st_size for name in ("a.txt", "c.txt"))


def test_the_standard_library_is_read_again_where_this_python_keeps_it() -> None:
    source = inspect(PYTHON_STDLIB)
    hashes = {file.name: file.sha256 for file in source.files}
    assert source_version(hashes, source.interpreter) == source.version
    found = look_again("stdlib", "", {**hashes, "gone.py": "0" * 64})
    assert {name for name, state in found.states.items() if state != "same"} == {"gone.py"}
    assert (found.bytes, found.interpreter) == (sum(file.bytes for file in source.files), source.interpreter)


@pytest.mark.parametrize(("kind", "name"), [("file", "gone.txt"), ("folder", "gone")])
def test_a_source_that_is_gone_is_told_and_raises_nothing(tmp_path: Path, kind: str, name: str) -> None:
    assert look_again(kind, str(tmp_path / name), {"a": "0" * 64}) == Found(why_not="no such file or folder")


def test_each_source_of_a_mixture_is_read_again(tmp_path: Path) -> None:
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text(f"the text of {name}\n")
    paths = {name: str(tmp_path / f"{name}.txt") for name in ("one", "two")}
    hashes = {f"{name}/{file.name}": file.sha256 for name, path in paths.items() for file in inspect(path).files}
    (tmp_path / "two.txt").write_text("another text\n")
    assert dict(look_again("mixture", paths, hashes).states) == {"one/one.txt": "same", "two/two.txt": "changed"}
