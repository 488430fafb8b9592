"""Token shards of generated sentences, for benchmarks where the text does not matter."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from infra.store.folder import FolderStore
from infra.store.manifest import publish
from llm.data.encoding import token_dtype
from llm.data.splitting import split_documents
from llm.data.tokens import write_tokens
from llm.text.tokenizer import Tokenizer

_WORDS: Final = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "under",
    "mat",
    "house",
    "red",
    "small",
    "and",
    "then",
    "quickly",
    "home",
]


@dataclass(frozen=True)
class _Sentences:
    id: str
    text: str

    @property
    def parent(self) -> str:
        return self.id


def prepared(store: Path, length: int) -> str:
    """Publishes them in a store of this folder, enough for rows of `length` tokens, and returns their name."""
    random = np.random.default_rng(0)
    documents = [_Sentences(str(n), " ".join(random.choice(_WORDS, 4 * length)) + ".") for n in range(100)]
    tokenizer = Tokenizer.train((document.text for document in documents), 320)
    splits = split_documents(documents, validation_share=0.1, test_share=0.1).splits
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counts = write_tokens(documents, splits, tokenizer, folder)
        tokenizer.save(folder, context_length=length)
        facts = {
            "dtype": token_dtype(tokenizer.size).str,
            "vocabulary": tokenizer.size,
            "splits": {split: vars(count) for split, count in counts.items()},
        }
        return publish(FolderStore(store), "datasets/sentences/1", folder, facts).prefix
