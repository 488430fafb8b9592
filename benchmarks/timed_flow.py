"""`slipway`, timed part by part: `python -m benchmarks.timed_flow WORDS...`; its last line on standard error is the times."""

import json
import sys
import time
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from typing import Any, Final

PARTS: Final = {
    "flows.cli.run:plan_flow": "the plan, with Prefect imported",
    "flows.launch:preflight": "checks before the start",
    "infra.orchestrator:start_embedded": "Prefect's server started",
    "infra.orchestrator:Embedded.wait": "Prefect's server answers",
    "infra.flow_runs:end_gone": "dead runs looked for",
}
HEAD: Final = "PARTS "


def main() -> None:
    seen = {"Python": time.time()}
    command = import_module("flows.cli").main
    import_module("flows.cli.run")
    seen["imports of the command line"] = time.time()
    for place, label in PARTS.items():
        _timed(place, label, seen)
    try:
        command(sys.argv[1:])
    finally:
        seen["end"] = time.time()
        print(HEAD + json.dumps(seen), file=sys.stderr)


def owner_of(place: str) -> tuple[Any, str]:
    """The module or the class in which it stands, and its name there."""
    module, _, path = place.partition(":")
    *within, name = path.split(".")
    return reduce(getattr, within, import_module(module)), name


def _timed(place: str, label: str, seen: dict[str, float]) -> None:
    """Notes when the function that stands there has returned. It has to be there: a name that moved is an error."""
    owner, name = owner_of(place)
    inner: Callable[..., Any] = getattr(owner, name)

    def timed(*arguments: Any, **options: Any) -> Any:
        result = inner(*arguments, **options)
        seen[label] = time.time()
        return result

    setattr(owner, name, timed)


if __name__ == "__main__":
    main()
