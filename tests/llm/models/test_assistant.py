"""Any base model can become an assistant: it gets the markers of a chat where it has none, and answers as before to all else."""

from dataclasses import replace
from pathlib import Path

import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers

from infra.store.errors import InputError
from llm.models.assistant import from_base, load_assistant
from llm.models.build import new_model
from llm.models.hub import load_model, save_model
from llm.models.presets import preset
from llm.text.chat import ChatFormat
from llm.text.files import END_OF_TEXT
from llm.text.tokenizer import Tokenizer

TEXT = "a ship on the sea, a ship in the harbour"


def foreign(folder: Path, *, vocabulary: int, tied: bool, name: str = "llama-tiny") -> Tokenizer:
    """A base model of somebody else, whose tokenizer knows no chats: 260 tokens, and rows for `vocabulary`."""
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner.train_from_iterator(
        [TEXT] * 9,
        trainers.BpeTrainer(vocab_size=260, initial_alphabet=alphabet, special_tokens=[END_OF_TEXT], show_progress=False),
    )
    tokenizer = Tokenizer(inner)
    model = new_model(replace(preset(name, vocabulary=vocabulary, context_length=96), tied=tied))
    model.initialise(5)
    save_model(model, folder, end_of_text=tokenizer.eos)
    tokenizer.save(folder, context_length=96)
    return tokenizer


@pytest.mark.parametrize("name", ["llama-tiny", "gpt2-tiny"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize(("vocabulary", "then"), [(320, 320), (260, 320)], ids=["spare rows", "none to spare"])
@torch.no_grad()
def test_a_base_without_markers_gets_them_and_says_what_it_said(
    tmp_path: Path, vocabulary: int, then: int, tied: bool, name: str
) -> None:
    tokenizer = foreign(tmp_path, vocabulary=vocabulary, tied=tied, name=name)
    before, assistant = load_model(tmp_path), from_base(tmp_path)
    assert assistant.model.config.vocabulary == then
    assert {assistant.chats.start, assistant.chats.end} == {260, 261}
    ids = torch.tensor([tokenizer.encode(TEXT)])
    old, new = before(ids)[..., :260], assistant.model(ids)[..., :260]
    torch.testing.assert_close(new, old, atol=1e-5, rtol=0)
    for weight in (assistant.model.embedding.weight, assistant.model.head.weight):
        torch.testing.assert_close(weight[260], weight[:260].mean(dim=0))
    assert (assistant.model.head.weight is assistant.model.embedding.weight) == tied
    logits = assistant.model(torch.tensor([assistant.chats.prompt_ids([{"role": "user", "content": TEXT}])]))
    assert torch.isfinite(logits).all()


def test_a_base_of_ours_is_taken_as_it_is(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train([TEXT] * 9, 300)
    model = new_model(preset("llama-tiny", vocabulary=320, context_length=96))
    save_model(model, tmp_path, end_of_text=tokenizer.eos)
    tokenizer.save(tmp_path, context_length=96)
    assistant = from_base(tmp_path)
    assert torch.equal(assistant.model.embedding.weight, model.embedding.weight)
    with pytest.raises(InputError, match="no chat template") as caught:
        load_assistant(tmp_path)
    assert "finetune-instruct" in caught.value.mend
    ChatFormat.of(tokenizer).save(tmp_path)
    assert load_assistant(tmp_path).chats.start == assistant.chats.start


def test_a_base_in_half_precision_is_trained_in_fp32(tmp_path: Path) -> None:
    tokenizer = foreign(tmp_path, vocabulary=320, tied=True)
    save_model(load_model(tmp_path).bfloat16(), tmp_path, end_of_text=tokenizer.eos)
    assert load_model(tmp_path).embedding.weight.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in from_base(tmp_path).model.parameters()} == {torch.float32}


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    tokenizer = foreign(tmp_path, vocabulary=260, tied=True)
    small = new_model(preset("llama-tiny", vocabulary=250, context_length=96))
    save_model(small, tmp_path, end_of_text=tokenizer.eos)
    with pytest.raises(InputError, match="the tokenizer has 260 tokens, the model 250"):
        from_base(tmp_path)
