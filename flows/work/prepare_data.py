"""The work of `prepare-data`: split by document, train a tokenizer on the training documents, write token shards.

What is finished of it is kept in the store on the way: a run that was killed is gone on with, and ends with the same bytes.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import tokenizers

from flows.pipeline.stage import Job, Outcome
from flows.stages import Splits
from infra.store.manifest import Thing, content_version, describe, publish
from llm.data import token_parts
from llm.data.encoding import token_dtype
from llm.data.kept_parts import KeptParts
from llm.data.mixed_documents import Copies, choose_copies, tokens_taken
from llm.data.mixing import Taken, Total, mix
from llm.data.splitting import SPLITS, SplitRule, hash_names, split_rule
from llm.data.token_parts import Part, join_parts, plan_parts, read_blocks, read_names, tokenize_part
from llm.events import Noted, Progress
from llm.text.tokenizer import Tokenizer

TOKENIZER_BYTES: Final = 100_000_000  # of text that a tokenizer is trained on: more changes hardly a merge, and costs memory
_OF_THE_CORPUS: Final = ("source", "sources", "licence", "interpreter", "rejected", "found", "found_rows", "validation")
_FORMAT: Final = 1  # of a part: another one is not gone on with


def work(job: Job, settings: Splits) -> Outcome:
    corpus, kept = job.inputs["corpus"], KeptParts(job.store, job.key)
    rule = split_rule(read_names(corpus), validation_share=settings.validation_share, test_share=settings.test_share)
    plan = plan_parts(corpus, token_parts.PART_BYTES)
    folder = _tokenizer_folder(job, settings, kept, corpus, plan, rule)
    weights = settings.weights
    parts = _tokenized(job, kept, corpus, plan, rule, folder, tuple(sorted(weights)))
    tokenizer, shards = Tokenizer.load(folder), job.scratch / "tokens"
    taken, copies = _mixed(parts, weights, settings.mix)
    counts = join_parts(parts, shards, token_dtype(tokenizer.size), copies)
    for file in folder.iterdir():
        shutil.copyfile(file, shards / file.name)
    files = describe(shards)
    mixture = _mixture(job, taken, copies, parts)
    facts = {
        "kind": "tokens",
        "name": corpus.facts["name"],
        "dtype": token_dtype(tokenizer.size).str,
        "vocabulary": tokenizer.size,
        "tokenizer": files["tokenizer.json"]["sha256"],
        "split_by": rule.by,
        "splits": {split: vars(count) for split, count in counts.items()},
        "shard_tokens": {name: of["bytes"] // token_dtype(tokenizer.size).itemsize for name, of in files.items() if ".bin" in name},
        "corpus": corpus.version,
        **({"mixture": mixture} if mixture else {}),
        **{name: corpus.facts[name] for name in _OF_THE_CORPUS if name in corpus.facts},
    }
    job.still_ours()
    tokens = publish(job.store, f"datasets/{corpus.facts['name']}-tokens/{content_version(files)}", shards, facts)
    kept.clear()
    total = sum(count.tokens for count in counts.values())
    result = {
        "vocabulary": tokenizer.size,
        "tokens": total,
        "training_tokens": counts["train"].tokens,
        "bytes_per_token": sum(count.bytes for count in counts.values()) / total,
    }
    return Outcome({"tokens": tokens}, result)


def _tokenizer_folder(job: Job, settings: Splits, kept: KeptParts, corpus: Thing, plan: Sequence[Part], rule: SplitRule) -> Path:
    """The tokenizer that is used, alone in a folder: the base model's, or one that is trained on training documents."""
    folder = job.scratch / "tokenizer"
    if settings.tokenizer is None:
        package = job.inputs["base"]
        package.path("tokenizer_config.json")
        Tokenizer.load(package.path("tokenizer.json").parent).save(folder, context_length=1_000_000)
        return folder
    made_of = {"format": _FORMAT, "library": tokenizers.__version__, "vocabulary": settings.tokenizer.vocabulary}
    trained = kept.find(made_of)
    if trained is None:
        texts = _training_texts(corpus, plan, rule)
        Tokenizer.train(texts, settings.tokenizer.vocabulary).save(folder, context_length=1_000_000)
        job.still_ours()
        trained = kept.keep(made_of, folder, {"kind": "tokenizer"})
    folder.mkdir(exist_ok=True)
    for name in trained.files:
        shutil.copyfile(trained.path(name), folder / name)
    return folder


def _training_texts(corpus: Thing, plan: Sequence[Part], rule: SplitRule) -> Iterator[str]:
    """Those of training documents; of a large corpus a share, chosen by hash, that comes to about TOKENIZER_BYTES."""
    share = min(1.0, TOKENIZER_BYTES / max(1, sum(part.bytes for part in plan)))
    for part in plan:
        for block in read_blocks(corpus, part):
            ids = block.column("id").to_pylist()
            chosen = rule.of(ids, block.column("parent").to_pylist()) == SPLITS.index("train")
            if share < 1:
                chosen &= hash_names(ids, b"slipway tokenizer ") < share * 2.0**64
            yield from block.column("text").filter(chosen).to_pylist()


def _tokenized(
    job: Job, kept: KeptParts, corpus: Thing, plan: Sequence[Part], rule: SplitRule, folder: Path, sources: tuple[str, ...]
) -> list[Thing]:
    """Every part of the corpus as tokens: those that an earlier attempt finished are taken as they are."""
    tokenizer, parts = Tokenizer.load(folder), list[Thing]()
    given = {"format": _FORMAT, "library": tokenizers.__version__, "sources": sources, "rule": rule}
    given |= {"tokenizer": {name: each["sha256"] for name, each in describe(folder).items()}}
    total, done, reused = sum(part.rows for part in plan), 0, 0

    def progress(documents: int) -> None:
        nonlocal done
        done += documents
        job.observe(Progress("tokenizing", done, total, "documents"))

    for part in plan:
        made_of = {**given, "files": [corpus.files[span.file]["sha256"] for span in part.spans], "part": part}
        found = kept.find(made_of)
        if found is None:
            scratch = job.scratch / "part"
            facts = tokenize_part(corpus, part, tokenizer, rule, scratch, sources=sources, progress=progress)
            job.still_ours()
            found = kept.keep(made_of, scratch, facts)
            shutil.rmtree(scratch)
        else:
            reused += 1
            progress(part.rows)
        parts.append(found)
    if reused:
        job.observe(Noted(f"{reused:,} of {len(plan):,} parts were tokenized before"))
    return parts


def _mixed(parts: Sequence[Thing], weights: Mapping[str, float], total: Total) -> tuple[dict[str, Taken], Copies | None]:
    """How often each source is taken, and each document; nothing is mixed where no source has a weight."""
    if not weights:
        return {}, None
    tokens = {name: sum(part.facts["sources"][name] for part in parts) for name in sorted(weights)}
    taken = mix(tokens, dict(sorted(weights.items())), total=total)
    return taken, choose_copies(parts, taken)


def _mixture(job: Job, taken: Mapping[str, Taken], copies: Copies | None, parts: Sequence[Thing]) -> dict[str, dict[str, float]]:
    """What the manifest says of the sources: what they hold, what was asked for, what came out."""
    if copies is None:
        return {}
    came = tokens_taken(parts, copies)
    mixture = {
        name: {
            "tokens": each.tokens,
            "weight": each.share,
            "share": read / sum(came),
            "times": read / each.tokens,
            "copies": each.copies,
            "once_more_below": below,
        }
        for (name, each), read, below in zip(taken.items(), came, copies.below, strict=True)
    }
    for name, of in mixture.items():
        job.observe(Noted(f"{name}: {of['share']:.1%} of the training tokens, taken {of['times']:.2f} times"))
    return mixture
