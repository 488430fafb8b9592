"""The samples of a training as a table that MLflow's page of the run shows."""

import json
from collections.abc import Sequence
from typing import Final

from llm.events import Sampled

SAMPLES: Final = "samples.json"
TABLE_TAG: Final = {"mlflow.loggedArtifacts": json.dumps([{"path": SAMPLES, "type": "table"}])}
"""The tag by which MLflow (3.17) knows such a file from others; `mlflow.log_table` sets it."""


def samples_table(samples: Sequence[Sampled]) -> bytes:
    """What `mlflow.load_table` reads: a row a sample."""
    rows = [[sample.step, sample.prompt, sample.text] for sample in samples]
    return json.dumps({"columns": ["step", "prompt", "text"], "data": rows}, ensure_ascii=False, indent=1).encode()
