"""One small model and all that it came from: trained in two attempts, the first cut off, approved and deployed in the ledger."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flows import stages
from flows.lineage.asking import Asker
from flows.lineage.checked import Checked
from flows.lineage.graph import Graph
from flows.lineage.verify import verify
from flows.models import missing_version
from flows.pipeline.records import Record
from flows.pipeline.session import SESSION, Session, walk
from flows.pipeline.stage import Stage
from flows.recipes.sections import EvaluationConfig, ModelConfig, PretrainConfig, RegistrationConfig, TokenizerConfig
from infra.ledger import Ledger
from infra.settings import Settings
from infra.store import open_store
from infra.store.manifest import Thing, load
from infra.store.protocol import Store
from llm.data.batches import read_batch
from llm.data.config import DataConfig
from llm.data.tokens import TokenStream
from llm.events import Observer, StepDone, ignore
from llm.training.config import TrainingConfig

BATCH, LENGTH, STEPS, CUT_OFF = 16, 32, 30, 10
MODEL = "models:/explained/1"


class CutOffError(Exception):
    """The first attempt's end."""


@dataclass
class Lived:
    """The home in which it happened, the records by stage, and every batch of training rows as training read it, in order."""

    settings: Settings
    text: Path
    records: dict[str, Record] = field(default_factory=dict)
    read: list[NDArray[np.int64]] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return open_store(self.settings.store)

    def thing(self, stage: str, output: str) -> Thing:
        return load(self.store, self.records[stage].outputs[output].prefix)

    def path(self, name: str) -> Path:
        return Path(self.settings.store, name)

    def explain(self, thing: str) -> Graph:
        return Asker(self.settings).explain(thing)

    def verify(self, thing: str) -> list[Checked]:
        return verify(self.explain(thing), self.store, Ledger.of(self.settings))

    def findings(self, thing: str) -> list[str]:
        return [finding for each in self.verify(thing) for finding in each.findings]


@pytest.fixture(scope="package")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    root = tmp_path_factory.mktemp("explained")
    lived = Lived(Settings(SLIPWAY_HOME=root / "home", SLIPWAY_STORE=None, MLFLOW_TRACKING_URI=None), root / "text.txt")
    lived.text.write_text("\n\n".join(_sentence(number) for number in range(160)) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llm.training.pretrain.read_batch", _listening(lived, read_batch))
        _live(lived)
    _decide(lived)
    yield lived


@pytest.fixture
def changed() -> Callable[..., AbstractContextManager[None]]:
    """Changes a file, or takes it away, and puts it back."""

    @contextmanager
    def change(path: Path, to: Callable[[bytes], bytes] | None = None) -> Iterator[None]:
        before = path.read_bytes()
        try:
            if to is None:
                path.unlink()
            else:
                path.write_bytes(to(before))
            yield
        finally:
            path.write_bytes(before)

    return change


def as_json(change: Callable[[Any], None]) -> Callable[[bytes], bytes]:
    """A change of a JSON document."""

    def to(before: bytes) -> bytes:
        document = json.loads(before)
        change(document)
        return json.dumps(document).encode()

    return to


def _live(lived: Lived) -> None:
    session = Session.open(lived.settings)
    token = SESSION.set(session)
    try:
        data = DataConfig(path=str(lived.text), max_document_bytes=400, curated=True)
        corpus = walk(stages.validate_data(data))
        tokens = walk(stages.prepare_data(data, TokenizerConfig(vocabulary=320), corpus))
        training = TrainingConfig(steps=STEPS, batch_size=BATCH, sequence_length=LENGTH, checkpoint_every=4, validate_every=STEPS)
        stage = stages.pretrain(PretrainConfig(model=ModelConfig(preset="llama-tiny"), training=training), tokens)
        session.watch = _cut_off
        with pytest.raises(CutOffError):
            walk(stage)
        session.watch = lambda stage, run: nullcontext(ignore)
        package = walk(stage)["package"]
        evidence = walk(stages.evaluate(EvaluationConfig(new_tokens=4), package, tokens, None))
        walk(stages.register(RegistrationConfig(name="explained"), package, evidence, missing_version))
    finally:
        SESSION.reset(token)
    lived.records = {walked.stage.name: walked.record for walked in session.walked if walked.record}


def _decide(lived: Lived) -> None:
    package, evidence = lived.thing("pretrain", "package"), lived.thing("evaluate", "evidence")
    about = {"model": MODEL, "package": package.version}
    ledger = Ledger.of(lived.settings)
    seen = {"evidence_sha256": evidence.files["evidence.json"]["sha256"]}
    ledger.append("approve", subject=about | seen, who="ann@quay", why="better on every document")
    ledger.append("deploy", subject=about | {"target": "local"}, who="bo@quay", why="release day")
    ledger.append("deploy", subject={"target": "local", "model": "models:/other/1", "package": "0" * 16}, who="bo@quay", why="")


def _sentence(number: int) -> str:
    crew = ("a small crew", "the harbour", "every rope", "a cold wind")[number % 4]
    return f"The ship {number} waits for the open sea. On day {number * 7} {crew} follows; nobody asks why, {number % 12} times."


@contextmanager
def _cut_off(stage: Stage, run: str) -> Iterator[Observer]:
    def observe(event: object) -> None:
        if isinstance(event, StepDone) and event.step == CUT_OFF:
            raise CutOffError

    yield observe


Read = Callable[[TokenStream, NDArray[np.int64], int], NDArray[np.int64]]


def _listening(lived: Lived, read: Read) -> Read:
    def listening(stream: TokenStream, starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        batch = read(stream, starts, length)
        if len(starts) == BATCH:  # the look at the validation documents takes another number of rows
            lived.read.append(batch)
        return batch

    return listening
