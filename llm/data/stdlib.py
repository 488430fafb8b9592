"""The text that every Python carries: the docstrings of the standard library and the topics of pydoc, read, never imported."""

import ast
import os
import platform
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Final

from infra.store.errors import InputError
from infra.store.manifest import sha256
from llm.data.documents import SourceFile

LICENCE: Final = "PSF-2.0"
_SHORTEST = 40  # characters; below, a docstring is a label
_LEFT_OUT = {"test", "tests", "idle_test", "__pycache__"}  # site-packages and the like are no identifiers: left out too
_TOPICS = "pydoc_data.topics"
_TEXT_SHARE = 0.18  # of the bytes of the files read is documentation, measured on CPython 3.11


def interpreter() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


def files() -> tuple[SourceFile, ...]:
    """Every file read, without a look inside: under 0.2 s. Raises InputError where the interpreter has no sources."""
    root = _root()
    found = []
    for path in _paths(root):
        size = path.stat().st_size
        found.append(SourceFile(path.relative_to(root).as_posix(), sha256(path), size, round(size * _TEXT_SHARE)))
    if not found:
        what = "this Python carries no sources of its standard library"
        raise InputError(what, where=str(root), mend="Set data.path to text of your own.")
    return tuple(found)


def documentation() -> Iterator[tuple[str, str, str]]:
    """(id, module, text) of every docstring of some length and every topic; the id is the dotted name, numbered if it repeats."""
    root = _root()
    for path in _paths(root):
        yield from file_documentation(path.relative_to(root).as_posix())


def file_documentation(name: str) -> Iterator[tuple[str, str, str]]:
    """The same of one of `files()`."""
    module = ".".join(Path(name).with_suffix("").parts).removesuffix(".__init__")
    seen: Counter[str] = Counter()
    for dotted, text in _texts(_root() / name, module):
        seen[dotted] += 1
        yield (dotted if seen[dotted] == 1 else f"{dotted}#{seen[dotted]}"), module, text


def _root() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _paths(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name.isidentifier() and name not in _LEFT_OUT)
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(".py") and not name.startswith("_sysconfigdata"))


def _texts(path: Path, module: str) -> Iterator[tuple[str, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own odd escapes
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, RecursionError):
            return  # some distributions ship templates and broken samples with the library
    if module == _TOPICS:
        yield from ((f"{module}.{name}", text.strip("\n")) for name, text in _topics(tree))
    todo: list[tuple[ast.AST, str]] = [(tree, module)]
    while todo:
        node, name = todo.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = cleandoc(ast.get_docstring(node, clean=False) or "")
            if len(text) >= _SHORTEST:
                yield name, text
        inner = [statement for part in ("body", "handlers", "orelse", "finalbody") for statement in _block(node, part)]
        todo += [(statement, _qualified(name, statement)) for statement in reversed(inner)]


def _block(node: ast.AST, part: str) -> list[ast.AST]:
    block = getattr(node, part, None)
    return block if isinstance(block, list) else []  # a lambda's body is an expression


def _qualified(name: str, node: ast.AST) -> str:
    return f"{name}.{node.name}" if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) else name


def _topics(tree: ast.Module) -> list[tuple[str, str]]:
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            return sorted(ast.literal_eval(statement.value).items())
    return []
