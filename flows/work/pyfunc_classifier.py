"""What `mlflow.pyfunc.load_model` makes of a classifier's package: texts in, labels out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow

from llm.evaluation.classification import classify
from llm.models.hub import load_classifier
from llm.text.tokenizer import Tokenizer


class Label(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
    """`predict(["a text"])` gives the likeliest label of each text; a table needs a column `text`."""

    def __init__(self) -> None:
        folder = Path(__file__).parent
        self.model, self.tokenizer = load_classifier(folder), Tokenizer.load(folder)

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> list[str]:
        found = classify(self.model, self.tokenizer, _texts(model_input))
        return [self.model.labels[place] for place in found.argmax(axis=1)]


def _texts(model_input: Any) -> Sequence[str]:
    if hasattr(model_input, "columns"):
        return [str(text) for text in model_input["text" if "text" in model_input.columns else model_input.columns[0]]]
    return [model_input] if isinstance(model_input, str) else [str(text) for text in model_input]


mlflow.models.set_model(Label())
