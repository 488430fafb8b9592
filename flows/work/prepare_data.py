"""The work of `prepare-data`: split by document, train a tokenizer on the training documents, write token shards.

What is finished of it is kept in the store on the way: a run that was killed is gone on with, and ends with the same bytes.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import tokenizers

from flows.pipeline.stage import Job, Outcome
from flows.stage_settings import Splits
from infra.store.manifest import Thing, content_version, describe, load, publish
from infra.tasks import run_tasks
from llm.data import token_parts
from llm.data.encoding import token_dtype
from llm.data.kept_parts import KeptParts
from llm.data.mixed_documents import Copies, choose_copies, tokens_taken
from llm.data.mixing import Taken, Total, mix
from llm.data.splitting import SPLITS, SplitRule, hash_names, split_rule
from llm.data.token_parts import Part, join_parts, plan_parts, read_blocks, read_names
from llm.data.token_tasks import TokenWork, make_token_part
from llm.events import Noted, Progress
from llm.text.tokenizer import Tokenizer

TOKENIZER_BYTES: Final = 100_000_000  # of text that a tokenizer is trained on: more changes hardly a merge, and costs memory
_OF_THE_CORPUS: Final = ("source", "sources", "licence", "interpreter", "rejected", "found", "found_rows", "validation")
_CORES: Final = 2  # to a process: one follows the pieces of a text, the library's threads read and encode what is new


def work(job: Job, settings: Splits) -> Outcome:
    corpus, kept = job.inputs["corpus"], KeptParts(job.store, job.key)
    rule = split_rule(read_names(corpus), validation_share=settings.validation_share, test_share=settings.test_share)
    plan = plan_parts(corpus, token_parts.PART_BYTES)
    given = _kept_tokenizer(job, settings, kept, corpus, plan, rule)
    sources = tuple(sorted(settings.weights))
    each = TokenWork(job.store, job.key, corpus.prefix, given.prefix, rule, sources, str(job.scratch))
    parts = _tokenized(job, each, kept, given, plan)
    tokenizer, shards = Tokenizer.load(given.folder()), job.scratch / "tokens"
    taken, copies = _mixed(parts, settings.weights, settings.mix)
    counts = join_parts(parts, shards, token_dtype(tokenizer.size), copies)
    for name in given.files:
        shutil.copyfile(given.path(name), shards / name)
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


def _kept_tokenizer(job: Job, settings: Splits, kept: KeptParts, corpus: Thing, plan: Sequence[Part], rule: SplitRule) -> Thing:
    """The tokenizer that is used, alone in a folder: the base model's, or one that is trained on training documents."""
    wanted = {"base": job.inputs["base"].version} if settings.tokenizer is None else {"vocabulary": settings.tokenizer.vocabulary}
    made_of = {"library": tokenizers.__version__, **wanted}
    found = kept.find(made_of)
    if found is not None:
        return found
    if settings.tokenizer is None:
        package = job.inputs["base"]
        tokenizer = Tokenizer.load(package.folder("tokenizer.json", "tokenizer_config.json"))
    else:
        tokenizer = Tokenizer.train(_training_texts(corpus, plan, rule), settings.tokenizer.vocabulary)
    folder = job.scratch / "tokenizer"
    tokenizer.save(folder, context_length=1_000_000)
    job.still_ours()
    return kept.keep(made_of, folder, {"kind": "tokenizer"})


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


def _tokenized(job: Job, work: TokenWork, kept: KeptParts, tokenizer: Thing, plan: Sequence[Part]) -> list[Thing]:
    """Every part of the corpus as tokens: those that an earlier attempt finished are taken as they are."""
    total = sum(part.rows for part in plan)
    found = [kept.find(work.made_of(part, job.inputs["corpus"], tokenizer)) for part in plan]
    missing = [part for part, there in zip(plan, found, strict=True) if there is None]
    done = total - sum(part.rows for part in missing)
    if len(missing) < len(plan):
        job.observe(Noted(f"{len(plan) - len(missing):,} of {len(plan):,} parts were tokenized before"))

    def progress(documents: int) -> None:
        nonlocal done
        done += documents
        job.observe(Progress("tokenizing", done, total, "documents"))

    def told(parts: int, of: int) -> None:
        job.observe(Progress("tokenizing", parts, of, "parts"))

    cluster = job.settings.ray_address
    workers = 0 if cluster else min(len(missing), (os.cpu_count() or 1) // _CORES)
    if cluster or workers > 1:
        make = partial(make_token_part, replace(work, store=job.store.url))
        names = iter(run_tasks(make, missing, workers=workers, address=cluster, name=_title, progress=told))
    else:
        names = (_made(job, work, part, progress) for part in missing)
    return [load(job.store, next(names)) if there is None else there for there in found]


def _made(job: Job, work: TokenWork, part: Part, progress: Callable[[int], None]) -> str:
    name = make_token_part(work, part, progress)
    job.still_ours()
    return name


def _title(part: Part) -> str:
    return ", ".join(f"{span.file}, row groups {span.first} to {span.end - 1}" for span in part.spans)


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
