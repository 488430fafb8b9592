"""The work of `prepare-data`: split by document, train a tokenizer on the training documents, write token shards."""

from collections.abc import Iterator
from pathlib import Path

from flows.pipeline.stage import Job, Outcome
from flows.stages import Splits
from infra.store.manifest import Thing, content_version, describe, publish
from llm.data.corpus import read_corpus
from llm.data.tokens import Splitting, split_documents, token_dtype, write_tokens
from llm.events import Progress
from llm.text.tokenizer import Tokenizer


def work(job: Job, settings: Splits) -> Outcome:
    corpus, folder = job.inputs["corpus"], job.scratch / "tokens"
    splitting = split_documents(read_corpus(corpus), validation_share=settings.validation_share, test_share=settings.test_share)
    tokenizer = _tokenizer(job, settings, corpus, splitting)
    tokenizer.save(folder, context_length=1_000_000)
    counts = write_tokens(
        read_corpus(corpus),
        splitting.splits,
        tokenizer,
        folder,
        progress=lambda done, total: job.observe(Progress("tokenizing", done, total, "documents")),
    )
    facts = {
        "kind": "tokens",
        "name": corpus.facts["name"],
        "dtype": token_dtype(tokenizer.size).str,
        "vocabulary": tokenizer.size,
        "split_by": splitting.by,
        "splits": {split: vars(count) for split, count in counts.items()},
        "corpus": corpus.version,
        "sources": corpus.facts["sources"],
        "licence": corpus.facts["licence"],
        "interpreter": corpus.facts["interpreter"],
    }
    version = content_version(describe(folder))
    job.still_ours()
    tokens = publish(job.store, f"datasets/{corpus.facts['name']}-tokens/{version}", folder, facts)
    total = sum(count.tokens for count in counts.values())
    result = {
        "vocabulary": tokenizer.size,
        "tokens": total,
        "training_tokens": counts["train"].tokens,
        "bytes_per_token": sum(count.bytes for count in counts.values()) / total,
    }
    return Outcome({"tokens": tokens}, result)


def _tokenizer(job: Job, settings: Splits, corpus: Thing, splitting: Splitting) -> Tokenizer:
    if settings.tokenizer is None:
        return Tokenizer.load(_tokenizer_folder(job.inputs["base"]))
    return Tokenizer.train(_training_texts(corpus, splitting), settings.tokenizer.vocabulary)


def _training_texts(corpus: Thing, splitting: Splitting) -> Iterator[str]:
    return (document.text for document, split in zip(read_corpus(corpus), splitting.splits, strict=True) if split == "train")


def _tokenizer_folder(package: Thing) -> Path:
    package.path("tokenizer_config.json")
    return package.path("tokenizer.json").parent
