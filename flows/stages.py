"""The stages of every flow: what each is identified by, what it takes from those before it, and where its work lies."""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from flows.pipeline.session import Walked
from flows.pipeline.stage import Input, Reference, Stage
from flows.recipes.recipes import EvaluationConfig, PretrainConfig, RegistrationConfig, TokenizerConfig
from infra.settings import Settings
from infra.store.fingerprint import RUNTIME
from infra.store.protocol import Store
from llm.data.config import DataConfig, Expectations
from llm.data.sources import SourceVersion, inspect
from llm.training.resume import newest


@dataclass(frozen=True)
class Gathering:
    """What of the data's settings bears on gathering and judging it; the split does not."""

    data: Annotated[DataConfig, RUNTIME]
    text_column: str
    max_document_bytes: int
    expectations: Expectations


@dataclass(frozen=True)
class Splits:
    """What of the data's settings bears on preparing it."""

    tokenizer: TokenizerConfig | None
    validation_share: float
    test_share: float
    name: Annotated[str, RUNTIME]


@dataclass(frozen=True)
class BaseFolder:
    """A model folder outside the store; its content version is an input."""

    folder: Annotated[str, RUNTIME]


def validate_data(data: DataConfig) -> Stage:
    """Documents, gathered and judged. Looks at the source at once: what is wrong with it is said before anything starts."""
    settings = Gathering(data, data.text_column, data.max_document_bytes, data.expectations)
    return Stage("validate-data", "flows.work.validate_data:work", settings, {"source": _inspected(data).version})


def import_base(folder: str, version: str) -> Stage:
    """A model from outside as a package in the store, in the place of pretraining."""
    return Stage("import-base", "flows.work.import_base:work", BaseFolder(folder), {"base": version})


def prepare_data(data: DataConfig, tokenizer: TokenizerConfig, corpus: Walked, base: Input | None = None) -> Stage:
    """A tokenizer, trained here or the base model's own, and token shards."""
    settings = Splits(None if base else tokenizer, data.validation_share, data.test_share, data.name)
    inputs = {"corpus": corpus["corpus"]} | ({"base": base} if base else {})
    return Stage("prepare-data", "flows.work.prepare_data:work", settings, inputs)


def pretrain(config: PretrainConfig, tokens: Walked) -> Stage:
    """A model package, trained from scratch."""

    def check_cluster(settings: Settings) -> None:
        if config.training.workers and settings.ray_address:
            from infra.cluster import check_address  # Ray, two seconds, which only workers are worth

            check_address(settings.ray_address)

    def check_resumable(store: Store, runs: tuple[str, ...]) -> None:
        newest(store, runs)

    inputs = {"tokens": tokens["tokens"]}
    return Stage("pretrain", "flows.work.pretrain:work", config, inputs, needs=check_cluster, preflight=check_resumable)


def evaluate(config: EvaluationConfig, package: Input, tokens: Walked, champion: Reference | None) -> Stage:
    """Evidence on documents that the model never saw, beside the champion's on the same ones."""
    inputs = {"package": package, "tokens": tokens["tokens"]} | ({"champion": champion} if champion and champion != package else {})
    return Stage("evaluate", "flows.work.evaluate:work", config, inputs)


def register(config: RegistrationConfig, package: Input, evidence: Walked, gone: Any) -> Stage:
    """A version in the registry, by reference, with its card."""
    return Stage("register", "flows.work.register:work", config, {"package": package, "evidence": evidence["evidence"]}, gone=gone)


@cache
def _inspected(data: DataConfig) -> SourceVersion:
    return inspect(data.path, data)


def text_bytes(data: DataConfig) -> int:
    """Bytes of text at the source."""
    return _inspected(data).text_bytes
