"""The predicted end of a training: from the power law at first, then corrected and timed by what ran here before."""

from typing import Any

import pytest

from flows.pipeline import records
from flows.pipeline.records import Record
from flows.prediction import predicted
from infra.store.folder import FolderStore
from llm.models.presets import preset
from llm.training.config import TrainingConfig
from llm.training.scaling import LADDER

MODEL = preset("llama-5m", vocabulary=4096, context_length=256)
TRAINING = TrainingConfig(steps=100, batch_size=4)


def ask(store: FolderStore, **more: Any) -> dict[str, Any]:
    return predicted(store, "llama-5m", MODEL, TRAINING, training_tokens=0, **more)


def test_without_earlier_runs_the_law_alone_speaks_and_no_time_is_made_up(store: FolderStore) -> None:
    found = ask(store, dataset="0123")
    assert found["bits_per_byte"] == pytest.approx(LADDER.bits_per_byte(MODEL.body_parameters(), 100 * 4 * 256))
    assert found["seconds"] is None
    assert found["memory_bytes"] > 16 * MODEL.parameters()


def test_an_earlier_run_on_the_same_text_corrects_the_loss_and_gives_the_time(store: FolderStore) -> None:
    plain = ask(store, dataset="0123")["bits_per_byte"]
    result = {
        "preset": "llama-5m",
        "tokens_per_second": 1024.0,
        "tokens": 100 * 4 * 256,
        "body_parameters": MODEL.body_parameters(),
        "val_bits_per_byte": 1.1 * plain,
    }
    identity = {"stage": "pretrain", "settings": {}, "inputs": {"tokens": "0123"}}
    record = Record("pretrain", "k" * 64, "pretrain-k-1", 1, identity, {}, result, {}, {}, "here", "2026-11-25", 1.0, 1.0)
    records.write(store, record)
    found = ask(store, dataset="0123")
    assert found["bits_per_byte"] == pytest.approx(1.1 * plain)
    assert "corrected by 1 earlier run on this text" in found["bits_per_byte_source"]
    assert found["seconds"] == pytest.approx(100.0)
    assert "pretrain-k-1 on here" in found["seconds_source"]
    assert ask(store, dataset="4567")["bits_per_byte"] == pytest.approx(plain)
