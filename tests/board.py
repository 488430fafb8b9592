"""The training board's queries, and a real Prometheus to ask them of."""

import json
import re
import shutil
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).parent.parent
BOARD: Final = ROOT / "dashboards/grafana/training.json"
PROMETHEUS: Final = shutil.which("prometheus")
_SELECTOR = re.compile(r"\b([a-zA-Z_:][\w:]*)\b(?!\s*\()(?:\{([^}]*)\})?")
_NO_METRICS: Final = {"by", "without", "on", "ignoring", "or", "and", "unless", "bool", "offset", "m", "h", "d", "s"}


@dataclass(frozen=True)
class Query:
    """One of a panel, with its variables filled in so that they let every run pass."""

    panel: str
    text: str

    def selectors(self) -> Iterator[tuple[str, set[str]]]:
        """Each metric that it names, and the labels it is narrowed by."""
        plain = re.sub(r"\[[^\]]*\]", "", self.text)
        for name, labels in _SELECTOR.findall(plain):
            if name not in _NO_METRICS:
                yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels))
            assert "}" not in name


def board() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(BOARD.read_text())
    return document


def queries() -> list[Query]:
    found = []
    for panel in board()["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"]
            for variable in board()["templating"]["list"]:
                text = text.replace(f"${variable['name']}", variable["allValue"])
            assert "$" not in text, f"{panel['title']}: a variable that the board does not have"
            found.append(Query(panel["title"], text))
    return found


def ask(prometheus: str, query: str) -> list[Any]:
    """The series that the query gives just now. Raises urllib.error.HTTPError where it is no PromQL."""
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        result: list[Any] = json.load(answer)["data"]["result"]
        return result


def wait_for(prometheus: str, query: str, seconds: float = 60) -> list[Any]:
    """The series that the query gives, as soon as it gives any."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := ask(prometheus, query):
                return found
        except OSError:
            pass
        assert time.monotonic() < deadline, f"no series of {query}"
        time.sleep(0.1)
