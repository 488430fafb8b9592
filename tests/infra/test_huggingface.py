"""Fetching from the hub: pinned, resumed, refused in a sentence, and found again when the hub is away."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from infra.huggingface import HubModel, fetch_model
from infra.store.errors import InputError, SlipwayError
from tests.hub_server import COMMIT, Hub, serving

MODEL = HubModel.parse("hf://owner/model")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one model, and an empty cache; the switch that keeps tests off the network is off for it alone."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "README.md", "LICENSE", "flax_model.msgpack", "pytorch_model.bin"):
        (folder / name).write_text("{}")
    save_file({"a": torch.arange(50_000.0)}, folder / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving(Hub(folder)) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def test_a_branch_is_pinned_to_its_commit_and_only_what_a_package_needs_is_fetched(hub: Hub) -> None:
    fetched = fetch_model(MODEL)
    assert fetched.revision == COMMIT
    assert sorted(path.name for path in fetched.folder.iterdir()) == [
        "LICENSE",
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert (fetched.folder / "model.safetensors").read_bytes() == (hub.folder / "model.safetensors").read_bytes()
    assert {*fetched.sha256} == {"model.safetensors"}
    assert all(COMMIT in path for _, path, _ in hub.asked if "resolve" in path)


def test_a_broken_download_goes_on_where_it_stopped(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)  # what is written at once; 10 MB, else
    hub.broken = 120_000
    fetched = fetch_model(MODEL)
    assert (fetched.folder / "model.safetensors").read_bytes() == (hub.folder / "model.safetensors").read_bytes()
    starts = [int(ranged.removeprefix("bytes=").partition("-")[0]) for _, _, ranged in hub.asked if ranged]
    assert len(starts) == 1
    assert 100_000 < starts[0] <= 120_000


def test_a_fetched_model_is_found_again_without_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    there = fetch_model(MODEL)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.asked)
    for address in ("hf://owner/model", "hf://owner/model@main", f"hf://owner/model@{COMMIT}"):
        found = fetch_model(HubModel.parse(address))
        assert (found.folder, found.revision) == (there.folder, COMMIT)
    assert len(hub.asked) == asked


def test_offline_and_never_fetched_is_said_in_one_sentence_with_exit_code_1(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SlipwayError, match="switched off.*cache does not have the model") as error:
        fetch_model(MODEL)
    assert error.value.exit_code == 1
    assert "slipway models import DIR" in error.value.mend


def test_a_hub_that_nobody_answers_at_is_said_in_one_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port}")
    with pytest.raises(SlipwayError, match="cannot be reached") as error:
        fetch_model(MODEL)
    assert error.value.exit_code == 1


@pytest.mark.parametrize(
    ("address", "what"),
    [("hf://owner/other", "knows no such model"), ("hf://owner/model@v9", "no revision 'v9'")],
)
def test_what_the_hub_does_not_have_is_bad_input(hub: Hub, address: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        fetch_model(HubModel.parse(address))


def test_a_model_behind_terms_asks_for_a_token_and_takes_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token, hub.gated = "hf_secret", True
    with pytest.raises(InputError, match="accepted its terms") as error:
        fetch_model(MODEL)
    assert "HF_TOKEN" in error.value.mend
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert fetch_model(MODEL).revision == COMMIT


def test_pickled_weights_are_refused_before_a_byte_of_them_is_fetched(hub: Hub) -> None:
    (hub.folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="pickle") as error:
        fetch_model(MODEL)
    assert "safetensors" in error.value.mend
    assert not [path for _, path, _ in hub.asked if "resolve" in path]


def test_a_model_that_is_not_known_is_refused_before_its_weights_are_fetched(hub: Hub) -> None:
    def refuse(folder: Path) -> None:
        assert (folder / "config.json").is_file()
        raise InputError("not known")

    with pytest.raises(InputError, match="not known"):
        fetch_model(MODEL, refuse)
    assert not [path for _, path, _ in hub.asked if path.endswith(".safetensors")]


@pytest.mark.parametrize("address", ["hf://", "hf://model", "hf://a/b/c", "hf://a/b@", "hf://../b", "hf://a/b@../x"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="not a model of the hub"):
        HubModel.parse(address)
