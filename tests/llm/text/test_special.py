"""What stands around a sequence: one bos and no second, in data, evaluation, classification, chats and serving alike."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from infra.store.folder import FolderStore
from infra.store.manifest import publish
from llm.data.encoding import token_dtype
from llm.data.tokens import TokenStream, write_tokens
from llm.models.classifier import encode
from llm.models.config import LlamaConfig
from llm.models.llama import Llama
from llm.serving.dispatch import completion
from llm.serving.errors import ApiError
from llm.serving.package import Package
from llm.serving.requests import CompletionRequest
from llm.text.chat import MARKERS, ChatFormat
from llm.text.special import DoubledBosError, check_single_bos, document, started
from llm.text.tokenizer import Tokenizer
from tests.llm.text.models import write_gpt2, write_model

TEXTS = ["the cat", "<s>the</s>", " aaa\n"]


@dataclass(frozen=True)
class Text:
    id: str
    parent: str
    text: str


@pytest.fixture
def with_bos(tmp_path: Path) -> Tokenizer:
    return Tokenizer.load(write_model(tmp_path / "tokenizer.model"))


@pytest.fixture
def without(tmp_path: Path) -> Tokenizer:
    return Tokenizer.load(write_gpt2(tmp_path / "gpt2"))


def test_a_sequence_begins_once(with_bos: Tokenizer, without: Tokenizer) -> None:
    assert (with_bos.bos, without.bos) == (1, None)
    for text in TEXTS:
        assert started(with_bos, with_bos.encode(text)) == [1, *with_bos.encode(text)]
        assert started(without, without.encode(text)) == [without.eos, *without.encode(text)]
        assert document(with_bos, with_bos.encode(text)) == [1, *with_bos.encode(text), 2]
        assert document(without, without.encode(text)) == [*without.encode(text), without.eos]
    assert document(with_bos, []) == [1, 2]


def test_a_doubled_bos_is_an_error_with_a_name(with_bos: Tokenizer, without: Tokenizer) -> None:
    ids = started(with_bos, with_bos.encode("the"))
    for doubling in (started, document, lambda tokenizer, ids: check_single_bos(tokenizer, [1, *ids])):
        with pytest.raises(DoubledBosError, match=r"begin with bos \(token 1\) twice") as error:
            doubling(with_bos, ids)
        assert error.value.document()["error"]["code"] == "doubled-bos"
    check_single_bos(with_bos, ids)
    check_single_bos(without, [without.eos, without.eos])


def test_token_shards_hold_each_document_with_its_bos(with_bos: Tokenizer, store: FolderStore, tmp_path: Path) -> None:
    documents = [Text(str(place), str(place), text) for place, text in enumerate(TEXTS)]
    write_tokens(documents, ("train",) * 3, with_bos, tmp_path / "tokens")
    facts = {"dtype": token_dtype(with_bos.size).str}
    stream = TokenStream(publish(store, "datasets/d/1", tmp_path / "tokens", facts), "train")
    assert [ids.tolist() for ids in stream.documents()] == [[1, *with_bos.encode(text)] for text in TEXTS]
    assert [with_bos.decode(ids.tolist()) for ids in stream.documents()] == TEXTS
    assert stream.read(0, len(stream)).tolist().count(1) == 3


def test_a_classifier_reads_one_bos_and_text_cut_to_its_context(with_bos: Tokenizer) -> None:
    assert encode(with_bos, "<s> the cat", 4) == [1, *with_bos.encode("<s> the cat")[:3]]


def test_a_chat_begins_once_and_says_the_same_to_everybody(with_bos: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    chats = ChatFormat.of(with_bos.with_control_tokens(MARKERS))
    assert chats.tokenizer.special.add_bos
    ids = chats.prompt_ids([{"role": "user", "content": " the <s> cat"}])[:2]
    assert ids == [1, chats.start]
    chats.tokenizer.save(tmp_path / "saved", context_length=64)
    chats.save(tmp_path / "saved")
    assert ChatFormat.load(tmp_path / "saved") is not None
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    said = [{"role": "user", "content": "the cat\n\nab"}, {"role": "assistant", "content": "aaa  b"}]
    rendered = theirs.apply_chat_template(said, tokenize=True, add_generation_prompt=True, return_dict=False)
    assert rendered == chats.prompt_ids(said)  # type: ignore[arg-type]


def test_the_switch_to_control_tokens_leaves_others_who_encode_alone(with_bos: Tokenizer) -> None:
    assert with_bos.encode("</s>", control=True) == [2]
    assert 2 not in with_bos.encode("</s>")
    assert torch.tensor(with_bos.encode("</s>")).numel() == len(with_bos.encode_batch(["</s>"])[0])


def test_a_client_that_sends_two_bos_as_ids_is_told(with_bos: Tokenizer) -> None:
    shape = LlamaConfig(vocabulary=with_bos.size, context_length=16, n_layers=1, width=8, n_heads=1, n_kv_heads=1, hidden=8)
    package = Package("ship", Llama(shape).eval(), with_bos, None, None, "")
    assert package.start_ids("the") == [1, *with_bos.encode("the")]
    list(completion(package, CompletionRequest(model="ship", prompt=[1, 260], max_tokens=1)))
    with pytest.raises(ApiError, match="twice") as error:
        completion(package, CompletionRequest(model="ship", prompt=[1, 1, 260], max_tokens=1))
    assert (error.value.status, error.value.code) == (400, "doubled_bos")
