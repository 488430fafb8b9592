"""The demo's text: what every Python carries, read and never imported."""

import platform
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from infra.store.errors import InputError
from llm.data import stdlib
from llm.data.config import PYTHON_STDLIB, DataConfig
from llm.data.documents import Document
from llm.data.labelled import stdlib_documents
from llm.data.reading.inspect import inspect

MODULE = '''"""What this module is for, said in a sentence of its own."""
import sys

class Thing:
    """A thing that is documented well enough to be taken."""

    def act(self):
        """Too short."""

    if sys.platform == "linux":
        def move(self):
            """Moves on Linux, for as long as there is a path ahead."""
    else:
        def move(self):
            """Moves elsewhere, for as long as there is a path ahead."""

async def wait():
    def inner():
        """Waits inside: a function within a function, indented,
            with a line that is indented further,
        and one not so.
        """
'''
TOPICS = (
    "topics = {'b': 'A topic on the letter b, after the one on a.\\n', 'a': '\\nA topic on the letter a, before the one on b.'}\n"
)


@pytest.fixture(scope="module")
def found() -> list[Document]:
    return stdlib_documents(DataConfig())


def test_there_is_text_enough_for_the_demo(found: list[Document]) -> None:
    texts = {document.text for document in found}
    assert 5_000 <= len(texts) <= 9_000  # Debian keeps some modules in packages of their own
    assert 1_700_000 <= sum(len(text.encode()) for text in texts) <= 2_600_000
    assert max(Counter(document.id for document in found).values()) == 1
    assert min(len(document.text) for document in found if document.id == document.parent) >= 40
    assert abs(inspect(PYTHON_STDLIB).text_bytes / sum(len(text.encode()) for text in texts) - 1) < 0.25


def test_the_words_are_those_of_the_library(found: list[Document]) -> None:
    by_id = {document.id: document for document in found}
    assert by_id["json.decoder.JSONDecoder"].text.startswith("Simple JSON <https://json.org> decoder\n\nPerforms")
    assert by_id["json.decoder.JSONDecoder"].source == "json.decoder"
    assert by_id["json"].text.startswith("JSON (JavaScript Object Notation)")
    assert by_id["pydoc_data.topics.assert"].text.startswith('The "assert" statement')
    assert by_id["pydoc_data.topics.specialnames.2"].parent == "pydoc_data.topics.specialnames"
    assert not [document.id for document in found if ".test." in document.id or "site-packages" in document.id]


def test_its_version_names_the_interpreter_and_stays() -> None:
    source, again = inspect(PYTHON_STDLIB), inspect(PYTHON_STDLIB)
    assert source == again
    assert (source.kind, source.licence, source.interpreter) == ("stdlib", "PSF-2.0", f"CPython {platform.python_version()}")
    assert len(source.files) > 500


def test_nothing_of_it_is_imported_and_it_takes_seconds() -> None:
    before, start = set(sys.modules), time.process_time()
    assert sum(1 for _ in stdlib.documentation()) > 5_000
    assert time.process_time() - start < 10
    assert not {"idlelib", "this", "antigravity", "lib2to3"} & (set(sys.modules) - before)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stdlib, "_root", lambda: tmp_path)
    return tmp_path


def test_each_docstring_bears_its_dotted_name_and_comes_unindented(library: Path) -> None:
    files = {
        "package/__init__.py": MODULE,
        "pydoc_data/topics.py": TOPICS,
        "broken.py": "def (",
        "package/test/x.py": MODULE,
        "site-packages/x.py": MODULE,
    }
    for name, text in files.items():
        (library / name).parent.mkdir(exist_ok=True, parents=True)
        (library / name).write_text(text)
    assert list(stdlib.documentation()) == [
        ("package", "package", "What this module is for, said in a sentence of its own."),
        ("package.Thing", "package", "A thing that is documented well enough to be taken."),
        ("package.Thing.move", "package", "Moves on Linux, for as long as there is a path ahead."),
        ("package.Thing.move#2", "package", "Moves elsewhere, for as long as there is a path ahead."),
        (
            "package.wait.inner",
            "package",
            "Waits inside: a function within a function, indented,\n    with a line that is indented further,\nand one not so.",
        ),
        ("pydoc_data.topics.a", "pydoc_data.topics", "A topic on the letter a, before the one on b."),
        ("pydoc_data.topics.b", "pydoc_data.topics", "A topic on the letter b, after the one on a."),
    ]


def test_a_python_without_sources_is_told(library: Path) -> None:
    with pytest.raises(InputError, match="no sources"):
        inspect(PYTHON_STDLIB)
