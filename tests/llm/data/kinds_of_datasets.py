"""One dataset of every kind in a store, as the stages publish them."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.store.manifest import Thing, publish
from infra.store.protocol import Store
from llm.data.classification import write_examples
from llm.data.encoding import token_dtype
from llm.data.instructions import ask, write_instructions
from llm.data.kinds.classification import Labelled
from llm.data.preferences import Preference, write_preferences
from llm.data.splitting import SPLITS, Split, split_documents
from llm.data.tokens import write_tokens
from llm.text.tokenizer import Tokenizer
from tests.llm.data.token_corpus import texts, write_corpus

SOURCE = {"name": "notes.jsonl", "sha256": "ab" * 32, "bytes": 4200, "licence": "CC0"}
N = 30


def splits() -> list[Split]:
    return [SPLITS[0 if i % 5 < 3 else i % 5 - 2] for i in range(N)]


def instruction(store: Store, folder: Path) -> Thing:
    return _publish(
        store, folder, "instruction", write_instructions([ask(str(i), f"Ask {i}", f"Say {i}") for i in range(N)], splits(), folder)
    )


def preference(store: Store, folder: Path) -> Thing:
    rows = [Preference(str(i), ({"role": "user", "content": f"Ask {i}"},), f"Good {i}", f"Bad {i}") for i in range(N)]
    return _publish(store, folder, "preference", write_preferences(rows, splits(), folder))


def classification(store: Store, folder: Path) -> Thing:
    rows = [Labelled(str(i), f"Text {i}", ("ham", "spam")[i % 2]) for i in range(N)]
    return _publish(store, folder, "classification", write_examples(rows, splits(), folder))


def corpus(store: Store, folder: Path) -> Thing:
    return write_corpus(store, folder, texts(N), name="corpus", licence="CC0", sources=[SOURCE], bytes=9000, rejected={"empty": 2})


def tokens(store: Store, folder: Path) -> Thing:
    documents = texts(N)
    tokenizer = Tokenizer.train((document.text for document in documents), 400)
    chosen = split_documents(documents, validation_share=0.2, test_share=0.2).splits
    counts = write_tokens(documents, chosen, tokenizer, folder, shard_tokens=300)
    tokenizer.save(folder, context_length=1024)
    of = {split: asdict(count) for split, count in counts.items()}
    return _publish(store, folder, "tokens", {"splits": of, "dtype": token_dtype(tokenizer.size).str, "vocabulary": tokenizer.size})


MAKE: dict[str, Callable[[Store, Path], Thing]] = {
    each.__name__: each for each in (corpus, tokens, instruction, preference, classification)
}


def _publish(store: Store, folder: Path, kind: str, facts: dict[str, Any]) -> Thing:
    about: dict[str, Any] = {"kind": kind, "name": kind, "licence": "CC0", "sources": [SOURCE]}
    return publish(store, f"datasets/{kind}/1", folder, about | facts)
