"""What is served: a model package, its files checked before anything is loaded."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from infra.store.errors import InputError
from infra.store.folder import FolderStore
from infra.store.manifest import MANIFEST, find, sha256
from llm.models.causal import CausalModel
from llm.models.classifier import Classifier, encode
from llm.models.decoding import Decoder, compiler_is_there
from llm.models.hub import WEIGHTS, load_classifier, load_model
from llm.models.hub_config import kind
from llm.models.weight_files import weight_files
from llm.serving.work import Event, Question, classification, continuation
from llm.text.chat import ChatFormat
from llm.text.special import started
from llm.text.tokenizer import Tokenizer

_PROBE = "The"
Precision = Literal["auto", "fp32", "bf16", "int8"]
"""fp32: the model as it was evaluated, to the last bit. bf16, int8: its weights rounded to that, decoding several times as fast.

auto: bf16 where the package's weights are stored in bf16, so that nothing is rounded, and a C++ compiler is there; else fp32.
"""


@dataclass(frozen=True)
class Package:
    """A loaded package. version: the hash its manifest in the store gives, None outside a store; chat: None without a template."""

    name: str
    model: CausalModel | Decoder | Classifier
    tokenizer: Tokenizer
    chat: ChatFormat | None
    version: str | None
    weights_sha256: str

    @property
    def precision(self) -> str:
        return self.model.precision if isinstance(self.model, Decoder) else "fp32"

    @property
    def kind(self) -> Literal["causal", "classifier"]:
        return "classifier" if isinstance(self.model, Classifier) else "causal"

    @property
    def context_length(self) -> int:
        return (self.model.body if isinstance(self.model, Classifier) else self.model).config.context_length

    @property
    def labels(self) -> tuple[str, ...]:
        return self.model.labels if isinstance(self.model, Classifier) else ()

    def document(self) -> dict[str, object]:
        """What `/version` answers."""
        return {
            "model": self.name,
            "kind": self.kind,
            "chat": self.chat is not None,
            "package": self.version,
            "weights_sha256": self.weights_sha256,
            "context_length": self.context_length,
            "precision": self.precision,
        }

    def start_ids(self, prompt: str) -> list[int]:
        """The ids of a text to continue: it stands where a document starts."""
        return started(self.tokenizer, self.tokenizer.encode(prompt))

    def probe(self) -> Iterator[Event]:
        """The smallest real work: whoever sees it end knows that the model answers."""
        if isinstance(self.model, Classifier):
            return classification(self.model, [encode(self.tokenizer, _PROBE, self.context_length)])
        prompt = self.start_ids(_PROBE)[: self.context_length - 1]
        return continuation(self.model, self.tokenizer, Question(prompt=prompt, max_tokens=2, temperature=0))


def load_package(folder: Path, name: str = "", precision: Precision = "fp32") -> Package:
    """Checks and loads a package's folder; on the GPU where there is one. name: what clients call it, the folder's by default.

    Raises InputError when it is no package, or for a classifier in another precision than fp32, DamagedError when a file is not
    what the manifest beside it says.
    """
    if precision not in get_args(Precision):
        raise InputError(
            f"no precision {precision!r}", where="--precision", mend=f"Choose one of {', '.join(get_args(Precision))}."
        )
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), mend="Name a model package or a Hugging Face folder.")
    version, weights = _check(folder)
    classifier = kind(folder) == "classifier"
    if classifier and precision in {"bf16", "int8"}:
        raise InputError(
            f"a classifier answers in fp32, not in {precision}", where=str(folder), mend="Leave --precision out: it writes no text."
        )
    tokenizer = Tokenizer.load(folder)
    chat = None if classifier else ChatFormat.load(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: CausalModel | Decoder | Classifier
    model = (
        load_classifier(folder).to(device).float().eval() if classifier else _in_precision(load_model(folder).to(device), precision)
    )
    return Package(name or folder.name, model, tokenizer, chat, version, weights)


def _in_precision(model: CausalModel, precision: Precision) -> CausalModel | Decoder:
    if precision == "auto":
        exact = all(parameter.dtype == torch.bfloat16 for parameter in model.parameters())
        precision = "bf16" if exact and compiler_is_there() else "fp32"
    return model.float().eval() if precision == "fp32" else Decoder(model, precision)


def _check(folder: Path) -> tuple[str | None, str]:
    """The package's version, if a manifest gives one, and the sha256 of its weights, both of files that were read through.

    That of weights in shards is the sha256 of the shards' own, one after another.
    """
    if (folder / MANIFEST).is_file() and (thing := find(FolderStore(folder.parent), folder.name)):
        thing.check()
        if WEIGHTS in thing.files:
            return thing.version, str(thing.files[WEIGHTS]["sha256"])
    kind(folder)  # a folder without config.json has an error of its own
    digests = [sha256(path) for path in weight_files(folder)]
    return None, digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
