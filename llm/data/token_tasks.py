"""A part of a corpus tokenized wherever it may be: here, in a process of its own, or as a task of a cluster."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import tokenizers

from infra.store import open_store
from infra.store.manifest import Thing, load
from infra.store.protocol import Store
from llm.data.kept_parts import KeptParts
from llm.data.splitting import SplitRule
from llm.data.token_parts import Part, tokenize_part
from llm.text.tokenizer import Tokenizer

_FORMAT: Final = 1  # of a part: another one is not gone on with


@dataclass(frozen=True)
class TokenWork:
    """What every part is tokenized with, as plain data. store: itself, or its URL where another process has to open it.

    key: of the stage. corpus, tokenizer: names in the store. sources: names of those that are mixed. scratch: a folder, on
    machines that have it.
    """

    store: Store | str
    key: str
    corpus: str
    tokenizer: str
    rule: SplitRule
    sources: tuple[str, ...]
    scratch: str

    def made_of(self, part: Part, corpus: Thing, tokenizer: Thing) -> Mapping[str, Any]:
        """All that bears on what comes of a part."""
        return {
            "format": _FORMAT,
            "library": tokenizers.__version__,
            "tokenizer": {name: entry["sha256"] for name, entry in tokenizer.files.items()},
            "rule": self.rule,
            "sources": self.sources,
            "files": [corpus.files[span.file]["sha256"] for span in part.spans],
            "part": part,
        }


def make_token_part(work: TokenWork, part: Part, progress: Callable[[int], None] = lambda documents: None) -> str:
    """Tokenizes a part and keeps it in the store; its name there. progress: hears how many more documents are done."""
    store = _opened(work)
    corpus, tokenizer = load(store, work.corpus), load(store, work.tokenizer)
    parent = work.scratch if Path(work.scratch).is_dir() else None
    with TemporaryDirectory(prefix="part-", dir=parent) as folder:
        inner = Tokenizer.load(tokenizer.folder())
        facts = tokenize_part(corpus, part, inner, work.rule, Path(folder), sources=work.sources, progress=progress)
        return KeptParts(store, work.key).keep(work.made_of(part, corpus, tokenizer), Path(folder), facts).prefix


def _opened(work: TokenWork) -> Store:
    return open_store(work.store) if isinstance(work.store, str) else work.store
