"""A model is the same here and in `transformers`, whichever of the two wrote its folder, and comes back under its own name."""

import json
from pathlib import Path

import pytest
import torch

from infra.store.errors import InputError
from llm.models.hub import load_classifier, load_model, save_classifier, save_model
from llm.models.hub_config import load_config
from llm.models.lora import add_adapters
from llm.models.lora_config import LoraConfig
from llm.serving.sampling import generate
from tests.llm.models.peers import LABELS, LLAMA3, SPECIMENS, apart, ids, read_by_transformers, theirs_of


@pytest.mark.parametrize("specimen", SPECIMENS)
def test_a_model_of_transformers_gives_the_same_logits_here_and_again_there(specimen: str, tmp_path: Path) -> None:
    theirs = theirs_of(specimen)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs")
    assert apart(ours, theirs) < 1e-4
    save_model(ours, tmp_path / "ours", end_of_text=0)
    again = read_by_transformers(tmp_path / "ours")
    assert type(again) is type(theirs)
    assert apart(ours, again) < 1e-4
    for name, weight in theirs.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    assert load_config(tmp_path / "ours") == ours.config


@pytest.mark.parametrize("specimen", ["llama", "llama 3.1", "mistral", "qwen2", "qwen3", "gpt2"])
def test_both_write_the_same_text(specimen: str, tmp_path: Path) -> None:
    theirs = theirs_of(specimen, std=0.4)  # wide enough that the text does not go round in circles
    theirs.save_pretrained(tmp_path)
    ours, prompts = load_model(tmp_path), ids(4, 10)
    said = theirs.generate(prompts, max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0)[:, 10:].tolist()
    assert [list(generate(ours, prompt, max_new_tokens=24, temperature=0)) for prompt in prompts.tolist()] == said
    assert len({token for row in said for token in row}) > 5


@pytest.mark.parametrize("specimen", ["llama", "llama, tied", "mistral", "qwen2", "qwen3", "gpt2"])
@torch.no_grad()
def test_a_classifier_of_transformers_gives_the_same_logits_here_and_again_there(specimen: str, tmp_path: Path) -> None:
    theirs = theirs_of(specimen, classifier=True)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_classifier(tmp_path / "theirs")
    assert ours.labels == LABELS
    batch, lengths = ids(4, 9), torch.tensor([9, 3, 1, 6])
    mask = torch.arange(9) < lengths[:, None]
    batch[~mask] = 0
    expected = theirs(input_ids=batch, attention_mask=mask.long()).logits
    torch.testing.assert_close(ours(batch, lengths), expected, atol=1e-4, rtol=0)
    save_classifier(ours, tmp_path / "ours", end_of_text=0)
    again = read_by_transformers(tmp_path / "ours", classifier=True)
    assert type(again) is type(theirs)
    torch.testing.assert_close(again(input_ids=batch, attention_mask=mask.long()).logits, expected, atol=1e-4, rtol=0)


def test_others_begin_and_pad_with_the_tokenizers_own_tokens_where_it_has_them(tmp_path: Path) -> None:
    theirs_of("llama").save_pretrained(tmp_path / "theirs")
    save_model(load_model(tmp_path / "theirs"), tmp_path / "own", end_of_text=2, bos=1, pad=3)
    read = read_by_transformers(tmp_path / "own")
    told = (read.config.bos_token_id, read.config.eos_token_id, read.config.pad_token_id, read.generation_config.bos_token_id)
    assert told == (1, 2, 3, 1)


def test_a_model_with_adapters_is_not_written_as_if_it_had_none(tmp_path: Path) -> None:
    theirs_of("llama").save_pretrained(tmp_path / "theirs")
    adapted = add_adapters(load_model(tmp_path / "theirs"), LoraConfig(rank=2))
    with pytest.raises(InputError, match="LoRA adapters"):
        save_model(adapted, tmp_path / "ours", end_of_text=0)
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("specimen", ["llama 3.1", "llama, linear scaling", "qwen2.5, untied"])
def test_the_layout_of_before_transformers_5_means_the_same(specimen: str, tmp_path: Path) -> None:
    theirs_of(specimen).save_pretrained(tmp_path)
    new, path = load_config(tmp_path), tmp_path / "config.json"
    fields = json.loads(path.read_text())
    rope = fields.pop("rope_parameters")
    fields |= {"rope_theta": rope.pop("rope_theta"), "torch_dtype": fields.pop("dtype")}
    if rope["rope_type"] != "default":
        fields["rope_scaling"] = rope | ({"type": rope.pop("rope_type")} if specimen == "llama, linear scaling" else {})
    path.write_text(json.dumps(fields))
    assert load_config(tmp_path) == new


def test_the_scaling_of_llama_3_bears_on_the_result(tmp_path: Path) -> None:
    theirs = theirs_of("llama 3.1")
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    fields = json.loads(path.read_text())
    assert fields["rope_parameters"] == LLAMA3
    path.write_text(json.dumps(fields | {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}))
    assert apart(load_model(tmp_path), theirs) > 1e-2


@torch.no_grad()
def test_the_files_of_openai_s_gpt2_load_which_name_weights_otherwise_and_carry_masks(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    theirs = theirs_of("gpt2")
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    short = {name.removeprefix("transformer."): weight for name, weight in load_file(path).items()}
    masks = {f"h.{layer}.attn.bias": torch.ones(1, 1, 64, 64).tril() for layer in range(2)}
    save_file(short | masks, path)
    fields = json.loads((tmp_path / "config.json").read_text())
    del fields["tie_word_embeddings"]
    (tmp_path / "config.json").write_text(json.dumps(fields | {"n_ctx": 64, "task_specific_params": {"text-generation": {}}}))
    assert apart(load_model(tmp_path), theirs) < 1e-4
