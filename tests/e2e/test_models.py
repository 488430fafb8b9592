"""From a hub to a registered model and out again, by the command line alone."""

from pathlib import Path

import pytest
import torch

from llm.models.hub import load_model
from tests.e2e.conftest import Slipway
from tests.hub_server import COMMIT, Hub, serving
from tests.llm.models.folders import make_folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_model_of_a_hub_is_imported_once_explained_and_exported(slipway: Slipway, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", "llama")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    with serving(Hub(folder)) as hub:
        online = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "huggingface")}
        first = slipway("models", "import", "hf://owner/model", "--name", "ship", "--json", env=online)
        assert first.code == 0, first.err
        told = first.json()
        expected = {"model": "models:/ship/1", "source": "hf://owner/model", "revision": COMMIT, "licence": "apache-2.0"}
        assert {name: told[name] for name in expected} == expected
        wrong = slipway("models", "import", "hf://owner/nothing", "--json", env=online)
        assert (wrong.code, wrong.json()["error"]["code"]) == (2, "bad-input")
    offline = {**online, "HF_HUB_OFFLINE": "1"}
    again = slipway("models", "import", f"hf://owner/model@{COMMIT}", "--name", "ship", "--json", env=offline)
    assert (again.code, again.json()["reused"], again.json()["model"]) == (0, True, "models:/ship/1")
    never = slipway("models", "import", "hf://owner/other", env=offline)
    assert never.code == 1
    assert "HF_HUB_OFFLINE" in never.err
    explained = slipway("explain", "models:/ship/1", "--verify")
    assert explained.code == 0, explained.out
    assert f"hf://owner/model at {COMMIT}" in explained.out
    out = slipway("models", "export", "models:/ship/1", "out", "--format", "hf", "--json")
    assert out.code == 0, out.err
    ids = torch.arange(20)[None]
    assert torch.equal(load_model(slipway.folder / "out")(ids), load_model(folder)(ids))
