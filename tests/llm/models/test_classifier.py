"""A classifier gives the logits that `transformers` gives, whichever of the two wrote its folder."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from infra.store.errors import DamagedError, InputError
from llm.models.build import new_model
from llm.models.classifier import Classifier, encode, encode_all
from llm.models.hub import load_classifier, load_model, save_classifier, save_model
from llm.models.hub_config import kind
from llm.models.presets import PRESETS
from llm.text.tokenizer import Tokenizer

LABELS = ("ham", "spam", "neither")
LENGTHS = torch.tensor([9, 3, 1, 6])


def classifier(*, tied: bool = True) -> Classifier:
    body = new_model(replace(PRESETS["llama-tiny"], tied=tied))
    body.initialise(5)
    model = Classifier(body, LABELS)
    model.initialise(5)
    torch.nn.init.normal_(model.score.weight, std=1.0, generator=torch.Generator().manual_seed(0))  # logits worth comparing
    return model.eval()


def batch(fill: int) -> torch.Tensor:
    ids = torch.randint(1, 512, (4, 9), generator=torch.Generator().manual_seed(1))
    for row, length in enumerate(LENGTHS):
        ids[row, length:] = fill
    return ids


def theirs(folder: Path) -> Any:
    return transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def apart(ours: Classifier, folder: Path) -> float:
    ids = batch(fill=0)
    mask = (torch.arange(9) < LENGTHS[:, None]).long()
    logits = theirs(folder)(input_ids=ids, attention_mask=mask).logits
    return float((ours(ids, LENGTHS) - logits).abs().max())


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_gives_our_logits_for_rows_of_different_lengths(tmp_path: Path, tied: bool) -> None:
    model = classifier(tied=tied)
    save_classifier(model, tmp_path, end_of_text=0)
    assert apart(model, tmp_path) < 1e-4
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["id2label"] == {"0": "ham", "1": "spam", "2": "neither"}
    assert (config["num_labels"], config["pad_token_id"]) == (3, 0)


def test_we_give_the_logits_of_a_classifier_that_transformers_wrote(tmp_path: Path) -> None:
    config = transformers.LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )
    torch.manual_seed(0)
    fresh: Any = transformers.AutoModelForSequenceClassification
    fresh.from_config(config).save_pretrained(tmp_path)
    model = load_classifier(tmp_path)
    assert model.labels == LABELS
    assert apart(model, tmp_path) < 1e-4


@torch.no_grad()
def test_what_fills_a_row_up_does_not_matter() -> None:
    model = classifier()
    assert torch.equal(model(batch(fill=0), LENGTHS), model(batch(fill=7), LENGTHS))
    alone = model(batch(fill=0)[1:2, :3], LENGTHS[1:2])
    torch.testing.assert_close(alone, model(batch(fill=0), LENGTHS)[1:2], atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_saved_classifier_comes_back_as_it_was(tmp_path: Path) -> None:
    model = classifier()
    save_classifier(model, tmp_path, end_of_text=0)
    assert torch.equal(load_classifier(tmp_path)(batch(0), LENGTHS), model(batch(0), LENGTHS))


def test_the_kind_of_a_folder_is_known_and_none_is_taken_for_the_other(tmp_path: Path) -> None:
    save_classifier(classifier(), tmp_path / "classifier", end_of_text=0)
    save_model(new_model(PRESETS["llama-tiny"]), tmp_path / "causal", end_of_text=0)
    assert (kind(tmp_path / "classifier"), kind(tmp_path / "causal")) == ("classifier", "causal")
    with pytest.raises(InputError, match="a classifier, not a model that continues text"):
        load_model(tmp_path / "classifier")
    with pytest.raises(InputError, match="not a classifier"):
        load_classifier(tmp_path / "causal")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(InputError, match=r"not a model this Slipway knows \(BertModel\)"):
        kind(tmp_path / "other")


@torch.no_grad()
def test_a_text_is_cut_where_it_was_cut_in_training_by_whoever_loads_the_package(tmp_path: Path) -> None:
    model = Classifier(new_model(PRESETS["llama-tiny"]), LABELS, max_length=9).eval()
    save_classifier(model, tmp_path, end_of_text=0)
    assert json.loads((tmp_path / "config.json").read_text())["max_position_embeddings"] == 9
    loaded = load_classifier(tmp_path)
    assert loaded.body.config.context_length == 9
    assert torch.equal(loaded(batch(0), LENGTHS), model(batch(0), LENGTHS))
    assert Classifier(new_model(PRESETS["llama-tiny"]), LABELS, max_length=1_000).body.config.context_length == 64


def test_a_label_too_many_is_named_with_both_shapes(tmp_path: Path) -> None:
    save_classifier(classifier(), tmp_path, end_of_text=0)
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"]["3"] = "another"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DamagedError, match=r"score.weight has shape \(3, 64\), config.json says \(4, 64\)"):
        load_classifier(tmp_path)


def test_a_text_is_read_after_the_token_that_starts_a_document_and_cut_to_the_context() -> None:
    tokenizer = Tokenizer.train(["a text to learn pairs from, and more text"], 280)
    ids = tokenizer.encode("a text to cut")
    assert encode(tokenizer, "a text to cut", 64) == [tokenizer.eos, *ids]
    assert encode(tokenizer, "a text to cut", 4) == [tokenizer.eos, *ids[:3]]
    assert encode(tokenizer, "", 4) == [tokenizer.eos]
    assert encode_all(tokenizer, ["a text", ""], 4) == [[tokenizer.eos, *tokenizer.encode("a text")[:3]], [tokenizer.eos]]
