"""The real stages, cut off at every write into the store: a rerun ends with the same model, registered and released once."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows import lifecycle
from flows.pipeline.session import SESSION, Session, Walked, walk
from flows.recipes.loading import load_recipe
from flows.recipes.recipes import LifecycleRecipe
from infra.anchors import RegistryAnchor
from infra.ledger import Ledger
from infra.registry import Registry
from infra.settings import Settings
from infra.store.errors import StoreError
from infra.store.faulty import Died, Fault, FaultyStore
from infra.store.folder import FolderStore
from infra.store.protocol import Store
from infra.tracking.client import connect
from llm.training import pretrain
from tests.e2e.conftest import FAST


@dataclass(frozen=True)
class Lab:
    """Runs lifecycles in this process: with the heavy libraries loaded once, each takes about a second."""

    recipe: LifecycleRecipe
    database: Path
    monkeypatch: pytest.MonkeyPatch

    def home(self, folder: Path) -> Settings:
        folder.mkdir()
        shutil.copy(self.database, folder / "mlflow.db")  # making its tables takes seconds
        return Settings(SLIPWAY_HOME=folder, SLIPWAY_LEASE_SECONDS=86_400)  # renewals come by the clock: no write to count

    def live(self, settings: Settings, store: Store) -> dict[str, Any]:
        """What bears on the result of each stage."""
        self.monkeypatch.setattr(pretrain, "open_store", lambda url: store)  # a training opens its store by URL
        token = SESSION.set(Session(settings, store))
        try:
            lifecycle.lifecycle.fn(self.recipe)
            return {each.stage.name: self._result(each) for each in SESSION.get().walked}
        finally:
            SESSION.reset(token)

    @staticmethod
    def _result(walked: Walked) -> tuple[Any, ...]:
        assert walked.record is not None
        kept = {"bits_per_byte", "val_loss", "tokens", "documents", "name", "version", "gates", "samples", "champion"}
        result = {name: value for name, value in walked.result.items() if name in kept}
        outputs = {name: output.version for name, output in walked.record.outputs.items() if walked.stage.name != "evaluate"}
        return walked.record.key, result, outputs


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, text: Callable[[Path], Path]) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("crash points")
    connect(f"sqlite:///{folder / 'mlflow.db'}")
    settings = [f"data.path={text(folder / 'text.txt')}", *(word.removeprefix("--set=") for word in FAST)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        for module in ("flows.lifecycle", "flows.deploy"):
            monkeypatch.setattr(f"{module}.run", walk)  # without Prefect around it
        yield Lab(load_recipe(LifecycleRecipe, "tiny", settings), folder / "mlflow.db", monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.DIE_BEFORE], ids=lambda fault: fault.name.lower())
def test_after_every_crash_point_of_the_lifecycle_a_rerun_ends_with_the_same_model_registered_and_released_once(
    lab: Lab, tmp_path: Path, fault: Fault
) -> None:
    counting = FaultyStore(FolderStore(tmp_path / "undisturbed/store"))
    undisturbed = lab.live(lab.home(tmp_path / "undisturbed"), counting)
    assert counting.writes > 40
    for at in range(1, counting.writes + 1):
        settings = lab.home(tmp_path / str(at))
        store = FolderStore(tmp_path / str(at) / "store")
        with pytest.raises((Died, StoreError)):
            lab.live(settings, FaultyStore(store, at=at, fault=fault))
        assert lab.live(settings, store) == undisturbed, f"after write {at}"
        (version,) = Registry(settings.tracking_uri).versions()
        assert (version.version, version.aliases) == (1, ("champion",))
        ledger = Ledger.of(settings)
        assert [entry.action for entry in ledger.entries()] == ["approve"]
        assert ledger.verify(*RegistryAnchor.every(Registry(settings.tracking_uri))) == []
        shutil.rmtree(tmp_path / str(at))
