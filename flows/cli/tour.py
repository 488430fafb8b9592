"""The end of a demo: what was made is asked, over HTTP as anyone would ask it, and shown, the best first."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from flows.cli.output import table
from flows.pipeline.session import Walked
from flows.work.card import one_line

_TEXTS = (
    "Open a TCP connection to a host and a port and send it some bytes.",
    "Return the largest integer that is not greater than the square root of n.",
    "Acquire the lock, and block until another thread has released it.",
)
_QUESTION = "What does `textwrap.dedent` do?"
_ANSWER_TOKENS = 64


@dataclass(frozen=True)
class Asked:
    """A question to a target, and its answer; of a classifier the label and its probability."""

    url: str
    model: str
    question: str
    answer: str
    probability: float | None = None


def ask(walked: Sequence[Walked]) -> list[Asked]:
    """Questions to every model that was deployed."""
    from flows.cli.speakers import Remote  # httpx: a demo that ends before it has nobody to ask

    found: list[Asked] = []
    for deployed in (each.result for each in walked if each.stage.name == "deploy" and each.record):
        remote = Remote(deployed["url"])
        match remote.kind:
            case "classifier":
                labels = [(text, remote.classify(text)) for text in _TEXTS]
                found += [Asked(deployed["url"], remote.name, text, each.label, each.probability) for text, each in labels]
            case "assistant":
                answer = remote.chat([{"role": "user", "content": _QUESTION}], {"temperature": 0, "max_tokens": _ANSWER_TOKENS})
                found.append(Asked(deployed["url"], remote.name, _QUESTION, "".join(answer)))
            case "base":
                start = next(each.result["samples"][0]["prompt"] for each in walked if each.stage.name == "evaluate")
                text = remote.complete(start, {"temperature": 0, "max_tokens": _ANSWER_TOKENS})
                found.append(Asked(deployed["url"], remote.name, start, "".join(text)))
    return found


def document(asked: Sequence[Asked]) -> dict[str, Any]:
    return {"asked": [asdict(each) for each in asked]}


def tour(walked: Sequence[Walked], asked: Sequence[Asked], *, kept: bool) -> str:
    """What a few million parameters do well first, then what they write, then where to look. kept: the servers stay up."""
    results = {each.stage.name: each.result for each in walked}
    lines = [*_classifier(results, asked), *_assistant(results), *_texts(results, asked), *_where(walked, results, kept=kept)]
    return "\n".join(lines)


def _classifier(results: Mapping[str, Any], asked: Sequence[Asked]) -> list[str]:
    measured = results.get("evaluate-classifier")
    if not measured:
        return []
    rows = [(each.answer, f"{each.probability:.0%}", each.question) for each in asked if each.probability is not None]
    score = measured["accuracy"]
    return [
        "",
        f"What it does well: of {score['n']:,} docstrings it never saw, it names the part of the library of {score['value']:.0%};",
        f"always the most frequent: {measured['majority_accuracy']:.0%}, TF-IDF with regression: {measured['tfidf_accuracy']:.0%}.",
        *(["Asked just now, over HTTP:", "", table(("part of the library", "sure", "text"), rows)] if rows else []),
    ]


def _assistant(results: Mapping[str, Any]) -> list[str]:
    measured = results.get("evaluate-assistant")
    if not measured:
        return []
    bits, choice = measured["bits_per_byte"], measured["choice"]["answer"]
    return [
        "",
        f"Answers to questions it never saw: {bits['model']['value']:.2f} bits per byte, {bits['base']['value']:.2f} before;",
        f"{choice['value']:.0%} of the {choice['n']:,} answers are likelier to it after their own question than after another.",
    ]


def _texts(results: Mapping[str, Any], asked: Sequence[Asked]) -> list[str]:
    lines = ["", "What it writes, after minutes of training and a few million parameters: grammar, not knowledge."]
    for sample in results["evaluate"]["samples"]:
        lines += _wrapped(f"{sample['prompt']}|{one_line(sample['text'])}")
    for each in asked:
        if each.probability is None:
            lines += _wrapped(f"{each.question} -> {one_line(each.answer)}")
    return lines


def _where(walked: Sequence[Walked], results: Mapping[str, Any], *, kept: bool) -> list[str]:
    slipway, picture = command(), results["evaluate"]["loss_curve"]
    matrix = results.get("evaluate-classifier", {}).get("confusion_matrix", "")
    deployed = [each.result for each in walked if each.stage.name == "deploy" and each.record]
    model = next((each["model"] for each in deployed), results["register"]["model"])
    places = {
        **({"the loss curve": near(picture)} if picture else {}),
        **({"the confusion matrix": near(matrix)} if matrix else {}),
        **{f"ask {each['model'].split('/')[1]}": f"{slipway} chat {each['url']}" for each in deployed if kept},
        **({} if kept else {"talk to it": f"{slipway} chat {model}"}),
        "the model's card": f"{slipway} models show {model}",
        "where all of it came from": f"{slipway} explain {model} --verify",
        "what would run again, and why": f"{slipway} run lifecycle --plan",
        "the same on your own text": f"{slipway} demo --data PATH",
        "pages, forms and servers": f"{slipway} up" if not kept else f"{slipway} status; stop them with {slipway} down",
    }
    return ["", "Where to look next:", *(f"  {what:<31}{where}" for what, where in places.items())]


def command() -> str:
    """`slipway` as it can be called from here: by its name where that finds this very installation, else by its path."""
    ours = Path(sys.executable).with_name("slipway")
    found = shutil.which("slipway")
    return "slipway" if found and ours.exists() and ours.samefile(found) else near(str(ours))


def near(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def _wrapped(text: str) -> list[str]:
    return wrap(text, 100, initial_indent="  ", subsequent_indent="    ")
