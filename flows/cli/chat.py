"""`slipway chat MODEL`: talk to a model in the terminal, message by message."""

import sys
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import typer

from flows.cli.located import locate
from flows.cli.output import emit, note
from flows.cli.speakers import CONTEXT_EXCEEDED, Local, Message, ModelError, Remote, Speaker
from infra.store.errors import InputError

_HELLO = {
    "assistant": "an assistant: each message is answered, and the chat so far is remembered",
    "base": "a base model: it continues each line, and remembers none",
    "classifier": "a classifier: each line gets a label and its probability",
}


def chat(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="models:/NAME@ALIAS, models:/NAME/VERSION, a package's folder, or a server's URL."),
    ],
    message: Annotated[str | None, typer.Option(metavar="TEXT", help="Say this alone, print the answer and end.")] = None,
    name: Annotated[str, typer.Option("--model", metavar="NAME", help="Which of the server's models, where it has several.")] = "",
    system: Annotated[str, typer.Option(metavar="TEXT", help="What an assistant is told before the chat.")] = "",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The longest answer, in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0 takes the likeliest token each time.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed draws the same answer.")] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "int8"] | None,
        typer.Option(help="Of a package's weights; auto: fp32, exactly as evaluated, or bf16 where they are stored so."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document with all turns at the end.")] = False,
) -> None:
    """Talk to a model until Ctrl-D or Ctrl-C. Lines may come through a pipe too.

    A server is named by its URL: your own, one that `slipway serve` started, or a public one (key in OPENAI_API_KEY).
    """
    given = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    options = {key: value for key, value in given.items() if value is not None}
    talk = _Talk(_speaker(model, name, precision), options, system, quiet=as_json)
    turns: list[dict[str, Any]] = []
    try:
        if message is None:
            note(f"{talk.speaker.name} is {_HELLO[talk.speaker.kind]}. Ctrl-D ends.")
        turns.extend(talk.turn(text) for text in (_lines(as_json) if message is None else [message]))
    except KeyboardInterrupt:
        if message is not None:
            raise
        note("")  # the end of a chat, as Ctrl-D is
    if as_json:
        emit({"model": talk.speaker.name, "kind": talk.speaker.kind, "turns": turns}, as_json, "")


def _speaker(model: str, name: str, precision: str | None) -> Speaker:
    if model.startswith(("http://", "https://")):
        if precision is not None:
            raise InputError("--precision is the server's to choose", where=model, mend="Leave it out, or name a package.")
        return Remote(model, name)
    if name:
        raise InputError("--model names one of a server's models", where=model, mend="Leave it out, or name a server's URL.")
    return Local(locate(model), precision or "auto")


class _Talk:
    """One turn after another; an assistant's messages so far are kept."""

    def __init__(self, speaker: Speaker, options: dict[str, Any], system: str, *, quiet: bool) -> None:
        self.speaker, self._options, self._quiet = speaker, options, quiet
        self._system: list[Message] = [{"role": "system", "content": system}] if system else []
        self._past: list[Message] = []

    def turn(self, text: str) -> dict[str, Any]:
        """Says the answer and returns the turn's document."""
        if self.speaker.kind == "classifier":
            found = self.speaker.classify(text)
            self._write(f"{found.label}  {found.probability:.3f}\n")
            return {
                "message": text,
                "label": found.label,
                "probability": found.probability,
                "probabilities": dict(found.probabilities),
            }
        answer = self._answer(text) if self.speaker.kind == "assistant" else self._say(self.speaker.complete(text, self._options))
        self._write("\n")
        return {"message": text, "answer": answer}

    def _answer(self, text: str) -> str:
        asked: Message = {"role": "user", "content": text}
        try:
            answer = self._say(self.speaker.chat([*self._system, *self._past, asked], self._options))
        except ModelError as error:
            if error.reason != CONTEXT_EXCEEDED or not self._past:
                raise
            del self._past[:2]
            note("(the chat has outgrown what the model can read: its oldest turn is forgotten)")
            return self._answer(text)
        self._past += [asked, {"role": "assistant", "content": answer}]
        return answer

    def _say(self, pieces: Iterator[str]) -> str:
        said = []
        for piece in pieces:
            said.append(piece)
            self._write(piece)
        return "".join(said)

    def _write(self, text: str) -> None:
        if not self._quiet:
            sys.stdout.write(text)
            sys.stdout.flush()


def _lines(quiet: bool) -> Iterator[str]:
    """What the user says, line by line, until the end of input; empty lines say nothing."""
    at_terminal = sys.stdin.isatty()
    if at_terminal:
        import readline  # noqa: F401  # gives `input` a line that can be edited, and a history
    while True:
        try:
            if at_terminal and sys.stdout.isatty() and not quiet:
                line = input("> ")
            elif line := sys.stdin.readline():
                line = line.rstrip("\n")
            else:
                return
        except EOFError:
            note("")
            return
        if line.strip():
            yield line
