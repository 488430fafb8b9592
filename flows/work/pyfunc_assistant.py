"""What `mlflow.pyfunc.load_model` makes of an assistant's package: questions or chats in, answers out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow

from llm.models.assistant import load_assistant
from llm.serving.sampling import generate
from llm.text.chat import Message


class AnswerQuestions(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
    """`predict(["What is a tensor?"])` gives one answer a question; a chat is a list of messages of role and content.

    A table needs a column `question` or `messages`. params: `max_new_tokens` (128), `temperature` (0: the likeliest token each
    time), `top_p` (1.0), `seed` (0).
    """

    def __init__(self) -> None:
        assistant = load_assistant(Path(__file__).parent)
        self.model, self.chats = assistant.model, assistant.chats

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> list[str]:
        options = {"max_new_tokens": 128, "temperature": 0.0, "top_p": 1.0, "seed": 0, **(params or {})}
        return [self._answer(chat, options) for chat in _chats(model_input)]

    def _answer(self, chat: Sequence[Message], options: dict[str, Any]) -> str:
        tokenizer = self.chats.tokenizer
        prompt = self.chats.prompt_ids(chat)
        return tokenizer.decode(list(generate(self.model, prompt, stop=self.chats.stop, vocabulary=tokenizer.size, **options)))


def _chats(model_input: Any) -> list[Sequence[Message]]:
    if hasattr(model_input, "columns"):
        column = next((name for name in ("messages", "question") if name in model_input.columns), model_input.columns[0])
        model_input = model_input[column]
    given = [model_input] if isinstance(model_input, str) else list(model_input)
    return [[{"role": "user", "content": each}] if isinstance(each, str) else each for each in given]


mlflow.models.set_model(AnswerQuestions())
