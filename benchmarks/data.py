"""The speed of the data path in one go: `python -m benchmarks.data [--rounds N] [--json]`: tokenizing and its memory, cleaning.

`benchmarks.data_tokens` runs here, `benchmarks.data_cleaning` in the Python that SLIPWAY_BENCH_PYTHON names, since datatrove needs
an environment of its own; without it cleaning is left out, and that is said.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import data_tokens

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, Any] = {"tokenizing": data_tokens.speed(options.rounds), "memory": data_tokens.memory()}
    peers = os.environ.get("SLIPWAY_BENCH_PYTHON")
    if peers:
        words = [peers, "-m", "benchmarks.data_cleaning", "--rounds", str(options.rounds), "--json"]
        done = subprocess.run(words, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, check=True)
        found["cleaning"] = json.loads(done.stdout)
    else:
        print("cleaning is left out: SLIPWAY_BENCH_PYTHON names no Python with datatrove", file=sys.stderr)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(data_tokens.text(found))
    if peers:
        rates = found["cleaning"]["megabytes_per_second"]
        print("\n".join(f"  cleaning, {name:<20}{rate['median']:8.2f} MB/s" for name, rate in rates.items()))
        ratio = found["cleaning"]["ratio"]
        print(f"  cleaning to datatrove: {ratio['median']:.1f}x [{ratio['low']:.1f}, {ratio['high']:.1f}]")


if __name__ == "__main__":
    main()
