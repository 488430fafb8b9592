"""Which code a stage runs: the digest of its own modules and of all they import from Slipway, and the commit."""

import ast
import hashlib
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_ROOMS = ("flows", "llm", "infra")


def describe(work: str) -> dict[str, Any]:
    return {"digest": digest(work), **_commit()}


@cache
def digest(work: str) -> str:
    """A hash over the sources that `module:function` reaches through imports, read and not run."""
    seen: set[str] = set()
    todo = [work.partition(":")[0]]
    while todo:
        module = todo.pop()
        if module not in seen and _file(module):
            seen.add(module)
            todo += _imports(module)
    total = hashlib.sha256()
    for module in sorted(seen):
        if path := _file(module):
            total.update(f"{module}\0".encode() + path.read_bytes())
    return total.hexdigest()[:16]


@cache
def _imports(module: str) -> tuple[str, ...]:
    path = _file(module)
    if path is None:
        return ()
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in found if name.split(".")[0] in _ROOMS)


@cache
def _file(module: str) -> Path | None:
    path = _ROOT.joinpath(*module.split("."))
    return next((candidate for candidate in (path.with_suffix(".py"), path / "__init__.py") if candidate.is_file()), None)


@cache
def _commit() -> dict[str, Any]:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(_ROOT), *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return {"version": metadata.version("slipway-llm")}
