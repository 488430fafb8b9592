"""Questions about the standard library, each answered by the beginning of the docstring it asks about."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from llm.data.documents import Document
from llm.data.instructions import Instruction, ask, digest
from llm.data.splitting import Split

_LONGEST: Final = 320  # bytes of an answer: a sentence or three
_FEWEST_WORDS: Final = 8  # fewer hardly answer a question
_FEWEST_OF_CALL: Final = 4
_TOPICS: Final = "pydoc_data.topics"
FORMS: Final[dict[str, tuple[str, ...]]] = {
    "module": ("What is `{}`?", "What is the module `{}` for?", "What does the module `{}` do?"),
    "class": ("What is `{}`?", "What is the class `{}` for?", "What does `{}` do?"),
    "function": ("What does `{}` do?", "What is `{}` for?", "Explain `{}`."),
}
_CALL: Final = re.compile(r"^(?:[\w.]+\s*=\s*)?[\w.]+\s*\([^()]*(?:\([^()]*\)[^()]*)*\)\s*(.*)$", re.DOTALL)
_ARROW: Final = re.compile(r"^(?:->|=>|--|:|==>)\s*")
_LISTED: Final = re.compile(r"^\s*(?:[-*+•]|\d+[.)]|:\w+|@\w+|\.\. )", re.MULTILINE)
_UNDERLINE: Final = re.compile(r"^\s*[=~^*#\"'`+-]{3,}\s*$", re.MULTILINE)
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+(?=[A-Z`'\"(])")


@dataclass(frozen=True)
class Question:
    """A question, its answer, and the document that it is about."""

    question: str
    answer: str
    document: Document


def questions(documents: Iterable[Document]) -> Iterator[Question]:
    """One question for each document that says enough in its first sentences; of a document in passages, the first counts.

    Expects the documents of `llm.data.stdlib`: an id is a dotted name, a source is the module. Which phrasing is taken depends on
    the name alone. Help topics and the second of two things with one name are no use: nobody would ask so.
    """
    for document in documents:
        name = document.parent
        if document.source == _TOPICS or "#" in name or document.id not in (name, f"{name}.1"):
            continue
        if answer := first_sentences(document.text.removeprefix(f"{name}\n")):
            yield Question(_phrased(name, document.source), answer, document)


@dataclass(frozen=True)
class Asked:
    """Questions with the split of each; left out were those `repeated`, and held-out ones whose answers pretraining has `seen`."""

    rows: list[Instruction]
    splits: list[Split]
    repeated: list[Question]
    seen: list[Question]


def ask_about(documents: Sequence[Document], splits: Sequence[Split]) -> Asked:
    """Questions about documents, each in the split that its document has in pretraining.

    Each answer is asked for once, by the first of its questions. A held-out answer that also stands in a training document, word
    for word, would be remembered and not found: it is left out.
    """
    split_of = {document.id: split for document, split in zip(documents, splits, strict=True)}
    first: dict[str, Question] = {}
    repeated = [each for each in questions(documents) if first.setdefault(digest(each.answer), each) is not each]
    trained_on = "\0".join(" ".join(each.text.split()) for each in documents if split_of[each.id] == "train").casefold()
    fresh: list[tuple[Instruction, Split]] = []
    seen: list[Question] = []
    for each in first.values():
        split = split_of[each.document.id]
        if split == "train" or each.answer.rstrip(".").casefold() not in trained_on:
            fresh.append((ask(each.document.parent, each.question, each.answer), split))
        else:
            seen.append(each)
    return Asked([row for row, _ in fresh], [split for _, split in fresh], repeated, seen)


def first_sentences(text: str) -> str:
    """The beginning of a docstring as prose on one line: signatures left out, whole sentences. Empty where there is none."""
    said: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        prose = _prose(paragraph)
        if prose is None:
            break
        for sentence in _SENTENCE.split(prose):
            if not sentence or sentence.endswith(":"):
                continue
            if len(" ".join([*said, sentence]).encode()) > _LONGEST:
                return _enough(said)
            said.append(sentence)
        if _enough(said):
            break
    return _enough(said)


def _enough(said: list[str]) -> str:
    answer = " ".join(said)
    if len(answer.split()) < _FEWEST_WORDS:
        return ""
    return answer if answer[-1] in ".!?" else f"{answer}."


def _prose(paragraph: str) -> str | None:
    """A paragraph on one line, empty where it is a signature or a title alone; None where an example or a list begins."""
    if ">>>" in paragraph or _LISTED.search(paragraph):
        return None
    if _UNDERLINE.search(paragraph):
        return ""
    joined = " ".join(paragraph.split())
    while called := _CALL.match(joined):
        rest = _ARROW.sub("", called.group(1))
        if rest == called.group(1) and rest:
            break  # a sentence that begins with a call
        if len(rest.split()) < _FEWEST_OF_CALL:
            return ""  # a signature: what it returns has a name
        joined = rest[:1].upper() + rest[1:]
    letters = sum(character.isalpha() or character.isspace() for character in joined)
    return joined if letters >= 0.75 * len(joined) else ""


def _phrased(name: str, module: str) -> str:
    last = name.rsplit(".", 1)[-1]
    forms = FORMS["module" if name == module else "class" if last.lstrip("_")[:1].isupper() else "function"]
    return forms[hashlib.sha256(name.encode()).digest()[0] % len(forms)].format(name)
