"""What `mlflow.pyfunc.load_model` makes of a model package: prompts in, continuations out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow

from llm.models.hub import load_model
from llm.serving.sampling import continue_text
from llm.text.tokenizer import Tokenizer


class ContinueText(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
    """`predict(["Once upon"])` gives one continuation a prompt; a table needs a column `prompt`.

    params: `max_new_tokens` (64), `temperature` (0: the likeliest token each time), `top_p` (1.0), `seed` (0).
    """

    def __init__(self) -> None:
        folder = Path(__file__).parent
        self.model, self.tokenizer = load_model(folder), Tokenizer.load(folder)

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> list[str]:
        options = {"max_new_tokens": 64, "temperature": 0.0, "top_p": 1.0, "seed": 0, **(params or {})}
        return [continue_text(self.model, self.tokenizer, prompt, **options) for prompt in _prompts(model_input)]


def _prompts(model_input: Any) -> Sequence[str]:
    if hasattr(model_input, "columns"):
        return [str(prompt) for prompt in model_input["prompt" if "prompt" in model_input.columns else model_input.columns[0]]]
    return [model_input] if isinstance(model_input, str) else [str(prompt) for prompt in model_input]


mlflow.models.set_model(ContinueText())
