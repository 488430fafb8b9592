"""Whatever files a tokenizer comes in: one way to load it, the same ids for others once it is saved, and text stays text."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from infra.store.errors import DamagedError, InputError
from llm.text.special import DoubledBosError, Special
from llm.text.tokenizer import Tokenizer
from tests.llm.text.models import NASTY, PIECES, write_gpt2, write_model
from tests.llm.text.test_sentencepiece import check_rows

SPELLED = ["<|endoftext|>", "</s>", "<s>", "<unk>", "[INST]", "a<|endoftext|>b", "say </s><s>[INST] now"]
LAYOUTS = [
    "trained",
    "vocab.json",
    "encoder.json",
    "sentencepiece",
    "sentencepiece of another name",
    "shared gpt2",
    "shared mistral",
]


@pytest.fixture(params=LAYOUTS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    where = tmp_path / "theirs"
    where.mkdir()
    match request.param:
        case "trained":
            Tokenizer.train(["the cat sat on the mat"] * 9, 300).save(where, context_length=64)
        case "vocab.json":
            write_gpt2(where)
        case "encoder.json":
            write_gpt2(where, ("encoder.json", "vocab.bpe"))
        case "sentencepiece":
            write_model(where / "tokenizer.model")
        case "sentencepiece of another name":
            write_model(where / "tokenizer.model.v1")
        case "shared gpt2":
            where = request.getfixturevalue("data_folder") / "gpt2-bpe"
        case _:
            where = request.getfixturevalue("data_folder") / "mistral-spm-v1"
    return where


def test_once_saved_it_gives_others_the_same_ids_and_bos(folder: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    ours = Tokenizer.load(folder)
    ours.save(tmp_path / "ours", context_length=100_000)
    again, raw = Tokenizer.load(tmp_path / "ours"), tokenizers.Tokenizer.from_file(str(tmp_path / "ours/tokenizer.json"))
    assert again.special == ours.special
    for family in ("llama",) if ours.size > 5_000 else ("gpt2", "llama", "mistral"):
        (tmp_path / "ours/config.json").write_text(json.dumps({"model_type": family}))
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
        for text in NASTY:
            ids = ours.encode(text)
            assert again.encode(text) == ids
            marked = ours.encode(text, control=True)
            assert raw.encode(text, add_special_tokens=False).ids == marked
            assert theirs.encode(text, add_special_tokens=False) == marked
            assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)
        assert theirs.encode("the") == [*([] if ours.bos is None else [ours.bos]), *ours.encode("the")]
        assert (theirs.eos_token_id, theirs.bos_token_id) == (ours.special.eos, ours.special.bos)
        assert (theirs.pad_token_id, theirs.unk_token_id) == (ours.special.pad, ours.special.unk)


def test_text_that_spells_a_control_token_is_text_unless_asked_for(folder: Path) -> None:
    ours = Tokenizer.load(folder)
    control = ours.control_tokens()
    assert ours.eos in control.values()
    for text in [*SPELLED, *control]:
        for ids in (ours.encode(text), *ours.encode_batch([text])):
            assert not {*control.values()} - {ours.special.unk} & {*ids}
            if ours.special.unk not in ids:
                assert ours.decode(ids) == text
    for name, index in control.items():
        assert index in ours.encode(f"the {name}", control=True)
        assert index not in ours.encode(f"the {name}")


def test_one_of_the_files_may_be_named_instead_of_the_folder(folder: Path) -> None:
    whole = Tokenizer.load(folder)
    for file in sorted(folder.iterdir()):
        if file.name in {"vocab.json", "merges.txt", "encoder.json", "vocab.bpe", "tokenizer.json"} or ".model" in file.name:
            named = Tokenizer.load(file)
            assert named.special == whole.special
            assert named.encode_batch(NASTY) == whole.encode_batch(NASTY)


def test_the_shared_rows_of_gpt2_are_met_id_for_id_and_back(data_folder: Path) -> None:
    check_rows(Tokenizer.load(data_folder / "gpt2-bpe"), data_folder / "gpt2-bpe/parity.jsonl")


def test_a_known_vocabulary_of_gpt2_gives_known_ids(tmp_path: Path) -> None:
    ours = Tokenizer.load(write_gpt2(tmp_path))
    first = 256
    assert ours.encode(" the cat") == [first + 2, 220, first + 4]
    letters = [ord(letter) - 33 for letter in "oftext"]
    assert ours.encode("<|endoftext|>") == [first + 5, first + 8, *letters, first + 6]
    assert ours.special == Special(eos=265, bos=None, pad=265, unk=None, add_bos=False, add_eos=False)


def test_the_control_tokens_of_a_foreign_tokenizer_that_only_its_settings_name_are_control_tokens(data_folder: Path) -> None:
    ours = Tokenizer.load(data_folder / "small-tokenizer-json")
    assert ours.special == Special(eos=2003, bos=2002, pad=2001, unk=None, add_bos=False, add_eos=False)
    assert ours.bos is None  # there is a token of that name, but nothing puts it before a text
    assert ours.control_tokens()["<|im_start|>"] == 2009
    assert ours.encode("a<|endoftext|>b", control=True) == [97, 2004, 98]
    assert 2004 not in ours.encode("a<|endoftext|>b")
    assert ours.decode([97, 2004, 98]) == "ab"


@pytest.mark.parametrize(
    ("settings", "bos", "pad"),
    [
        ({}, 1, 2),
        ({"add_bos_token": False}, None, 2),
        ({"pad_token": {"content": "<unk>"}}, 1, 0),
        ({"pad_token": "<pad>", "added_tokens_decoder": {str(len(PIECES)): {"content": "<pad>", "special": True}}}, 1, len(PIECES)),
    ],
)
def test_the_settings_of_a_sentencepiece_folder_say_what_is_put_before_a_text(
    settings: dict[str, Any], bos: int | None, pad: int, tmp_path: Path
) -> None:
    write_model(tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    ours = Tokenizer.load(tmp_path)
    assert (ours.bos, ours.special.pad) == (bos, pad)
    ours.save(tmp_path / "saved", context_length=64)
    assert Tokenizer.load(tmp_path / "saved").special == ours.special
    raw = tokenizers.Tokenizer.from_file(str(tmp_path / "saved/tokenizer.json"))
    assert raw.encode("the").ids == [*([] if bos is None else [bos]), *ours.encode("the")]
    assert "<pad>" not in settings.values() or pad not in ours.encode("<pad>")


def test_what_would_be_read_unfaithfully_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a Qwen2Tokenizer cuts a text into other words than GPT-2"):
        Tokenizer.load(write_gpt2(tmp_path / "qwen", tokenizer_class="Qwen2Tokenizer"))
    added = {"7": {"content": "<new>", "special": True}}
    with pytest.raises(InputError, match="gives '<new>' the id 7, vocab.json 266"):
        Tokenizer.load(write_gpt2(tmp_path / "ids", added_tokens_decoder=added))
    inner = tokenizers.Tokenizer(tokenizers.models.Unigram([("<unk>", 0.0), ("</s>", -1.0), ("a", -2.0)], unk_id=0))
    (tmp_path / "unigram").mkdir()
    inner.save(str(tmp_path / "unigram/tokenizer.json"))
    (tmp_path / "unigram/tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    with pytest.raises(InputError, match="reads a text that spells </s> as that control token"):
        Tokenizer.load(tmp_path / "unigram")


@pytest.mark.parametrize(
    ("single", "error", "said"),
    [
        ("<s> <s> $A", DoubledBosError, r"puts <s> before a text 2 times"),
        ("<s> <|im_end|> $A", InputError, r"puts \['<s>', '<\|im_end\|>'\] before a text"),
        ("<s> $A <s>", InputError, r"\['<s>'\] after it, which are not its bos <s> and eos <\|endoftext\|>"),
    ],
)
def test_a_tokenizer_that_doubles_bos_or_marks_a_text_otherwise_is_refused(
    single: str, error: type[InputError], said: str, tmp_path: Path
) -> None:
    inner = tokenizers.Tokenizer.from_str(Tokenizer.train(["the cat"] * 5, 300)._inner.to_str())
    inner.add_special_tokens(["<s>"])
    known = [(name, inner.token_to_id(name)) for name in ("<s>", "<|im_end|>")]
    inner.post_processor = tokenizers.processors.TemplateProcessing(single=single, special_tokens=known)
    inner.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<s>"}')
    with pytest.raises(error, match=said):
        Tokenizer.load(tmp_path)


def test_files_that_are_missing_or_broken_are_named(tmp_path: Path) -> None:
    write_gpt2(tmp_path / "half")
    (tmp_path / "half/merges.txt").unlink()
    with pytest.raises(InputError, match=r"no tokenizer"):
        Tokenizer.load(tmp_path / "half")
    with pytest.raises(InputError, match=r"merges\.txt: vocab\.json without the other half"):
        Tokenizer.load(tmp_path / "half/vocab.json")
    write_gpt2(tmp_path / "broken")
    (tmp_path / "broken/merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(DamagedError, match="not a list of merges"):
        Tokenizer.load(tmp_path / "broken")
    write_gpt2(tmp_path / "broken")
    (tmp_path / "broken/vocab.json").write_text("[]")
    with pytest.raises(DamagedError, match=r"vocab\.json: not a JSON object"):
        Tokenizer.load(tmp_path / "broken")
    (tmp_path / "two").mkdir()
    for name in ("a.model", "b.model"):
        shutil.copy(write_model(tmp_path / "some.model"), tmp_path / "two" / name)
    with pytest.raises(InputError, match=r"several tokenizers \(a\.model, b\.model\)"):
        Tokenizer.load(tmp_path / "two")
