"""The stages of every flow: what each takes from those before it, and where its work lies."""

from functools import cache
from typing import TYPE_CHECKING, Any

from flows import door, served
from flows.origins import HUB, Origin
from flows.pipeline.session import Walked
from flows.pipeline.stage import Input, Pending, Reference, Stage
from flows.recipes.sections import (
    ClassifyEvaluation,
    EvaluationConfig,
    InstructEvaluation,
    PretrainConfig,
    RegistrationConfig,
    ReleaseConfig,
    RolloutConfig,
    TokenizerConfig,
)
from flows.stage_settings import (
    Asking,
    BaseFolder,
    Deploying,
    Gathering,
    Labelling,
    RegisteringImport,
    Releasing,
    Reviewing,
    RollingBack,
    Splits,
)
from infra.settings import Settings
from infra.store.fingerprint import fingerprint
from infra.store.protocol import Store
from llm.data import labelled
from llm.data.cleaning.config import CleaningConfig
from llm.data.config import PYTHON_STDLIB, ClassificationData, DataConfig, dataset_name
from llm.data.instruction_config import InstructionDataConfig
from llm.training.config import FinetuneConfig
from llm.training.resume import newest
from llm.training.worker_counts import Workers

if TYPE_CHECKING:
    from llm.data.reading.found import Found


def validate_data(data: DataConfig) -> Stage:
    """Documents, gathered and judged. Looks at the source at once: what is wrong with it is said before anything starts."""
    settings = Gathering(
        data=data,
        columns={source.source_name: source.text_column for source in data.sources} or {"": data.text_column},
        max_document_bytes=data.max_document_bytes,
        cleaning=data.rules,
        expectations=data.expectations,
    )
    inputs = {"source": _inspected(data).version} | _evaluation_sets(data.rules)
    return Stage("validate-data", "flows.work.validate_data:work", settings, inputs)


def import_base(found: Origin) -> Stage:
    """A model from outside as a package in the store, in the place of pretraining."""
    settings = BaseFolder(
        folder=str(found.folder),
        source=found.source,
        hub=found.source if found.source.startswith(HUB) else "",
        revision=found.revision,
        licence=found.licence,
        layout=found.layout,
        files=found.files,
    )
    return Stage("import-base", "flows.work.import_base:work", settings, {"base": fingerprint(dict(found.files))[:16]})


def register_import(name: str, package: Input, gone: Any) -> Stage:
    """An imported model in the registry, by reference, before anything was measured of it."""
    return Stage("register-import", "flows.work.register_import:work", RegisteringImport(name), {"package": package}, gone=gone)


def prepare_data(data: DataConfig, tokenizer: TokenizerConfig, corpus: Walked, base: Input | None = None) -> Stage:
    """A tokenizer, trained here or the base model's own, and token shards."""
    settings = Splits(
        tokenizer=None if base else tokenizer,
        validation_share=data.validation_share,
        test_share=data.test_share,
        weights={source.source_name: source.weight for source in data.sources if source.weight and len(data.sources) > 1},
        mix=data.mix,
        name=data.name,
    )
    inputs = {"corpus": corpus["corpus"]} | ({"base": base} if base else {})
    return Stage("prepare-data", "flows.work.prepare_data:work", settings, inputs)


def pretrain(config: PretrainConfig, tokens: Walked) -> Stage:
    """A model package, trained from scratch."""
    inputs = {"tokens": tokens["tokens"]}
    return _training("pretrain", "flows.work.pretrain:work", config, inputs, config.training.workers)


def prepare_classification(data: ClassificationData, corpus: DataConfig) -> Stage:
    """Labelled texts, judged and split. Looks at every row at once: a bad one is said before anything starts."""
    stdlib = data.path == PYTHON_STDLIB
    split_by = corpus if stdlib else data
    settings = Labelling(
        data=data,
        corpus=corpus,
        text_column=data.text_column,
        label_column=data.label_column,
        on_invalid=data.on_invalid,
        cleaning=data.cleaning,
        max_document_bytes=corpus.max_document_bytes if stdlib else 0,
        validation_share=split_by.validation_share,
        test_share=split_by.test_share,
        expectations=data.expectations,
    )
    source = {"source": _inspected_labels(data).version} | _evaluation_sets(data.cleaning)
    return Stage("prepare-classification", "flows.work.prepare_classification:work", settings, source)


def finetune_classify(config: FinetuneConfig, base: Input, examples: Walked) -> Stage:
    """A classifier's package, from a base model and labelled texts."""
    inputs = {"base": base, "examples": examples["examples"]}
    return _training("finetune-classify", "flows.work.finetune_classify:work", config, inputs, config.workers)


def evaluate_classifier(config: ClassifyEvaluation, package: Input, examples: Walked, champion: Reference | None) -> Stage:
    """Evidence on texts that the classifier never saw, beside simple rivals and the champion on the same ones."""
    inputs = {"package": package, "examples": examples["examples"]}
    beside = {"champion": champion} if champion and champion != package else {}
    return Stage("evaluate-classifier", "flows.work.evaluate_classifier:work", config, inputs | beside)


def prepare_instructions(data: InstructionDataConfig, corpus: DataConfig) -> Stage:
    """Questions with answers, judged and split. Looks at every row at once: a bad one is said before anything starts."""
    stdlib = data.path == PYTHON_STDLIB
    split_by = corpus if stdlib else data
    settings = Asking(
        data=data,
        corpus=corpus,
        on_invalid=data.on_invalid,
        cleaning=data.cleaning,
        max_document_bytes=corpus.max_document_bytes if stdlib else 0,
        validation_share=split_by.validation_share,
        test_share=split_by.test_share,
        expectations=data.expectations,
    )
    source = {"source": _inspected_instructions(data).version} | _evaluation_sets(data.cleaning)
    return Stage("prepare-instructions", "flows.work.prepare_instructions:work", settings, source)


def finetune_instruct(config: FinetuneConfig, base: Input, examples: Walked) -> Stage:
    """An assistant's package, from a base model and questions with answers."""
    inputs = {"base": base, "examples": examples["examples"]}
    return _training("finetune-instruct", "flows.work.finetune_instruct:work", config, inputs, config.workers)


def evaluate_assistant(
    config: InstructEvaluation, package: Input, base: Input, examples: Walked, champion: Reference | None
) -> Stage:
    """Evidence on questions that the assistant never saw, beside its base model and the champion on the same ones."""
    inputs = {"package": package, "base": base, "examples": examples["examples"]}
    beside = {"champion": champion} if champion and champion != package else {}
    return Stage("evaluate-assistant", "flows.work.evaluate_assistant:work", config, inputs | beside)


def evaluate(config: EvaluationConfig, package: Input, tokens: Walked, champion: Reference | None) -> Stage:
    """Evidence on documents that the model never saw, beside the champion's on the same ones."""
    inputs = {"package": package, "tokens": tokens["tokens"]} | ({"champion": champion} if champion and champion != package else {})
    return Stage("evaluate", "flows.work.evaluate:work", config, inputs)


def register(config: RegistrationConfig, package: Input, evidence: Walked, gone: Any) -> Stage:
    """A version in the registry, by reference, with its card."""
    return Stage("register", "flows.work.register:work", config, {"package": package, "evidence": evidence["evidence"]}, gone=gone)


def release(config: ReleaseConfig, registered: Walked | str, package: Input, evidence: Input) -> Stage:
    """The decision that a version becomes the champion. registered: the walked `register`, or models:/NAME/VERSION."""
    inputs = {"package": package, "evidence": evidence}
    if isinstance(registered, str):
        model = registered
        name = model.removeprefix("models:/").rpartition("/")[0]
    else:
        model, name = registered.result.get("model", ""), registered.stage.settings.name
        if not model:
            inputs["registered"] = Pending(registered.stage.name)
    settings = Releasing(name, config.policy, config.reviewers, model)
    return Stage(
        "release",
        "flows.work.release:work",
        settings,
        inputs,
        gone=door.revoked,
        decides=True,
        awaits=lambda: door.awaited(model, config.policy),
    )


def review(model: str, decision: str, reason: str, reviewer: str, evidence: Input) -> Stage:
    """A person's decision on a registered version; one that is in force already is not made again."""
    settings = Reviewing(model, decision, reason.strip(), reviewer)
    return Stage("review", "flows.work.review:work", settings, {"evidence": evidence}, gone=door.overtaken)


def deploy(
    target: str,
    released: Walked | str,
    package: Input,
    evidence: Input,
    *,
    rollout: RolloutConfig | None = None,
    reason: str = "",
    again: bool = False,
) -> Stage:
    """An approved version onto a target, reused while it serves there. released: the walked `release`, or models:/NAME/VERSION."""
    model = released if isinstance(released, str) else released.result.get("model", "")
    settings = Deploying(target, model, rollout or RolloutConfig(), reason, again)
    inputs = {"package": package, "evidence": evidence}
    if isinstance(released, Walked) and not model:
        inputs["released"] = Pending(released.stage.name)
    return Stage("deploy", "flows.work.deploy:work", settings, inputs, needs=served.can_serve, gone=served.not_served)


def rollback(target: str, reason: str = "") -> Stage:
    """A target back to the version before. Raises InputError where there is none."""
    inputs = {"serving": served.to_go_back_from(target)}
    return Stage("rollback", "flows.work.rollback:work", RollingBack(target, reason), inputs, needs=served.can_serve)


def _training(name: str, work: str, config: Any, inputs: dict[str, Input], workers: Workers) -> Stage:
    """A stage that trains: looks for the cluster and the newest checkpoint before anything starts."""

    def check_cluster(settings: Settings) -> None:
        if workers and settings.ray_address:
            from infra.cluster import check_address  # Ray, two seconds, which only workers are worth

            check_address(settings.ray_address)

    def check_resumable(store: Store, runs: tuple[str, ...]) -> list[str]:
        passed_over: list[str] = []
        newest(store, runs, passed_over.append)
        return passed_over

    return Stage(name, work, config, inputs, needs=check_cluster, preflight=check_resumable)


@cache
def _inspected_labels(data: ClassificationData) -> "Found":
    return labelled.inspect(data)


@cache
def _inspected_instructions(data: InstructionDataConfig) -> "Found":
    from llm.data.instruction_sources import inspect_instructions  # pyarrow and tokenizers: who has no instructions does without

    return inspect_instructions(data)


@cache
def _inspected(data: DataConfig) -> "Found":
    from llm.data.corpus_sources import corpus_sources  # pyarrow: half of a plan's time, where no data is looked at

    return corpus_sources(data).whole


def _evaluation_sets(cleaning: CleaningConfig) -> dict[str, str]:
    """Each by its content: what is left out of the data hangs on it."""
    return {f"evaluation set {dataset_name(path, '')}": _looked_at(path).version for path in cleaning.evaluation_sets}


@cache
def _looked_at(path: str) -> "Found":
    from llm.data.reading.inspect import inspect  # as above

    return inspect(path)


def text_bytes(data: DataConfig) -> int:
    """Bytes of text at the sources; of packed files an estimate."""
    return _inspected(data).text_bytes
