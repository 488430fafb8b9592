"""LoRA: what stands still, what learns, what comes out when it is merged, and that `peft` and we read each other's files."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from infra.store.errors import DamagedError, InputError
from llm.models.classifier import Classifier
from llm.models.config import GPT2Config, LlamaConfig
from llm.models.gpt2 import GPT2
from llm.models.hub import save_classifier, save_model
from llm.models.llama import Llama
from llm.models.lora import LoraLinear, adapters, add_adapters, matrices, merge_adapters, merged_copy
from llm.models.lora_config import LoraConfig
from llm.models.lora_files import CONFIG, WEIGHTS, load_adapters, save_adapters

SHAPE = LlamaConfig(
    vocabulary=97, context_length=32, n_layers=2, width=32, n_heads=4, n_kv_heads=2, hidden=48, tied=True, norm_epsilon=1e-5
)
GPT2_SHAPE: dict[str, Any] = {"vocabulary": 97, "context_length": 32, "n_layers": 2, "width": 32, "n_heads": 4, "hidden": 64}
CONFIGS = [
    LoraConfig(rank=4, alpha=8),
    LoraConfig(rank=3, alpha=7.5, rank_stabilised=True),
    LoraConfig(rank=2, alpha=16, targets=("attention.q", "attention.v")),
    LoraConfig(rank=2, alpha=2, targets=("mlp", "attention.out")),
]


def make(config: LoraConfig | None = None, seed: int = 0) -> Llama:
    """A tiny model; with adapters that say something, where asked for."""
    model = Llama(SHAPE)
    model.initialise(seed)
    if config:
        stir(add_adapters(model, config))
    return model.eval()


def make_classifier(config: LoraConfig | None = None) -> Classifier:
    model = Classifier(make(), ("calm", "storm", "fog"))
    if config:
        stir(add_adapters(model, config))
        with torch.no_grad():
            model.score.weight.normal_(generator=torch.Generator().manual_seed(3))
    return model.eval()


def stir(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, module in adapters(model):
            module.lora_b.normal_(std=0.5, generator=generator)


def ids(rows: int = 2) -> Tensor:
    return torch.randint(0, SHAPE.vocabulary, (rows, 11), generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def said(model: nn.Module) -> Tensor:
    logits: Tensor = model(ids())
    return logits


def test_new_adapters_change_nothing_yet() -> None:
    before, model = said(make()), add_adapters(make(), LoraConfig(dropout=0.5))
    assert torch.equal(said(model.eval()), before)
    assert {name for name, _ in adapters(model)} == set(matrices(model))
    assert len(matrices(model)) == 7 * SHAPE.n_layers


def test_the_adapters_alone_learn() -> None:
    model = add_adapters(make(), LoraConfig(rank=4, dropout=0.1)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in learning) == sum(
        4 * (matrix.in_features + matrix.out_features) for matrix in matrices(model).values()
    )
    optimizer = torch.optim.AdamW(learning, lr=0.01)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(ids()[:, :-1]).flatten(0, 1), ids()[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"{name}.{part}" for name, _ in adapters(model) for part in ("lora_a", "lora_b")}


def test_a_classifiers_output_layer_learns_too() -> None:
    model = make_classifier(LoraConfig())
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name in learning if "lora_" not in name} == {"score.weight"}


@pytest.mark.parametrize("config", CONFIGS)
def test_the_output_is_that_of_the_formula(config: LoraConfig) -> None:
    model = make(config)
    name, module = next(adapters(model))
    x = torch.randn(5, module.in_features)
    scale = config.alpha / (math.sqrt(config.rank) if config.rank_stabilised else config.rank)
    expected = x @ module.weight.T + scale * (x @ module.lora_a.T) @ module.lora_b.T
    assert torch.allclose(module(x), expected, atol=1e-5), name


@pytest.mark.parametrize("config", CONFIGS)
def test_a_merged_model_says_the_same_and_can_learn_whole(config: LoraConfig) -> None:
    model = make(config)
    expected, names = said(model), {name for name, _ in make().named_parameters()}
    merged = merged_copy(model)
    assert (said(merged) - expected).abs().max() < 1e-4
    assert (said(make()) - expected).abs().max() > 0.05
    assert any(isinstance(module, LoraLinear) for module in model.modules())
    assert torch.equal(said(model), expected)
    assert {name for name, parameter in merged.named_parameters() if parameter.requires_grad} == names
    assert merge_adapters(model) is model
    assert torch.equal(said(model), said(merged))


def test_a_merge_into_bf16_is_the_fp32_sum_rounded_once() -> None:
    model = make().to(torch.bfloat16)
    stir(add_adapters(model, LoraConfig(rank=4)))
    name, module = next(adapters(model))
    exact = module.weight.float() + module.scale * module.lora_b @ module.lora_a
    assert said(model).dtype == torch.bfloat16
    assert torch.equal(merge_adapters(model).get_parameter(f"{name}.weight"), exact.to(torch.bfloat16))


def test_the_cache_gives_what_a_whole_pass_gives() -> None:
    model = make(LoraConfig())
    cache = model.cache(2, 16)
    with torch.no_grad():
        pieces = torch.cat([model(part, cache=cache) for part in ids().split(4, dim=1)], dim=1)
    assert torch.allclose(pieces, said(model), atol=1e-5)


def test_what_cannot_be_adapted_is_named() -> None:
    with pytest.raises(InputError, match=r"(?s)no matrix attention\.query.*attention\.q, attention\.k"):
        add_adapters(make(), LoraConfig(targets=("attention.query",)))
    with pytest.raises(InputError, match="has adapters already"):
        add_adapters(make(LoraConfig()), LoraConfig())
    with pytest.raises(InputError, match=r"lora\.alpha is -1, it must be more than 0, lora\.dropout is 1.*, lora\.rank is 0"):
        add_adapters(make(), LoraConfig(rank=0, alpha=-1, dropout=1.0))


@pytest.mark.parametrize(("kind", "config"), [*(("causal", config) for config in CONFIGS), ("classifier", CONFIGS[2])])
def test_saved_adapters_come_back(kind: str, config: LoraConfig, tmp_path: Path) -> None:
    model = make(config) if kind == "causal" else make_classifier(config)
    save_adapters(model, config, tmp_path)
    loaded, found = load_adapters(make() if kind == "causal" else make_classifier(), tmp_path)
    assert (found.rank, found.alpha, found.rank_stabilised) == (config.rank, config.alpha, config.rank_stabilised)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    assert loaded.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize(("kind", "config"), [*(("causal", config) for config in CONFIGS), ("classifier", CONFIGS[2])])
def test_peft_reads_our_adapters_and_says_the_same(kind: str, config: LoraConfig, tmp_path: Path) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    theirs = theirs_of(kind, tmp_path, transformers)
    ours = make(config) if kind == "causal" else make_classifier(config)
    save_adapters(ours, config, tmp_path / "adapters", base=str(tmp_path / "base"))
    theirs = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapters").eval()
    assert (answers(theirs) - answers(ours)).abs().max() < 1e-4
    assert (answers(theirs.merge_and_unload()) - answers(merged_copy(ours))).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("kind", "options"),
    [("causal", {}), ("causal", {"use_rslora": True, "target_modules": ["q_proj", "down_proj"]}), ("classifier", {})],
)
def test_adapters_that_peft_saved_are_read(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    task = "CAUSAL_LM" if kind == "causal" else "SEQ_CLS"
    settings = peft.LoraConfig(**{"task_type": task, "r": 4, "lora_alpha": 6, "target_modules": "all-linear", **options})
    theirs = peft.get_peft_model(theirs_of(kind, tmp_path, transformers), settings).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(len(name)))
    theirs.save_pretrained(tmp_path / "adapters")
    ours, config = load_adapters(make() if kind == "causal" else make_classifier(), tmp_path / "adapters")
    assert (answers(theirs) - answers(ours.eval())).abs().max() < 1e-4
    assert config.rank_stabilised is bool(options.get("use_rslora"))


@pytest.mark.parametrize("targets", [(), ("attention.out",), ("attention.qkv", "mlp")], ids=str)
def test_peft_reads_the_adapters_of_a_gpt2_and_we_read_its(targets: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("llm.models.hub_names", reason="GPT-2's folders are not read yet")
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    shape, config = GPT2Config(**GPT2_SHAPE), LoraConfig(rank=4, alpha=6, targets=targets)
    ours = GPT2(shape).eval()
    save_model(ours, tmp_path / "base", end_of_text=0)
    stir(add_adapters(ours, config))
    save_adapters(ours, config, tmp_path / "adapters")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapters").eval()
    assert (answers(theirs) - answers(ours)).abs().max() < 1e-4
    theirs.save_pretrained(tmp_path / "again")
    again, _ = load_adapters(GPT2(shape).eval(), tmp_path / "again")
    assert (answers(theirs) - answers(again)).abs().max() < 1e-4
    assert (answers(theirs) - answers(merge_adapters(again))).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"peft_type": "IA3"}, "peft_type='IA3'"),
        ({"bias": "lora_only"}, "bias='lora_only'"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save=\['lm_head'\]"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern="),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"something_new": 3}, "something_new=3"),
    ],
)
def test_what_peft_can_and_we_cannot_is_refused_by_name(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    save_adapters(make(LoraConfig()), LoraConfig(), tmp_path)
    settings = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(settings | changed))
    with pytest.raises(InputError, match=said):
        load_adapters(make(), tmp_path)


def test_adapters_of_another_model_are_refused(tmp_path: Path) -> None:
    save_adapters(make(LoraConfig()), LoraConfig(), tmp_path)
    shallow = LlamaConfig(**{**vars(SHAPE), "n_layers": 1})
    with pytest.raises(InputError, match="for another model.*has no place in it"):
        load_adapters(Llama(shallow), tmp_path)
    deep = LlamaConfig(**{**vars(SHAPE), "n_layers": 3})
    with pytest.raises(InputError, match="for some layers alone: none for blocks.2"):
        load_adapters(Llama(deep), tmp_path)
    wide = LlamaConfig(**{**vars(SHAPE), "hidden": 64})
    with pytest.raises(InputError, match=r"has shape \(48, 8\), this model takes \(64, 8\)"):
        load_adapters(Llama(wide), tmp_path)
    with pytest.raises(InputError, match=r"score\.weight is missing"):
        load_adapters(make_classifier(), tmp_path)
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:-9])
    with pytest.raises(DamagedError, match="not whole"):
        load_adapters(make(), tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(InputError, match="no adapters"):
        load_adapters(make(), tmp_path)


def theirs_of(kind: str, folder: Path, transformers: Any) -> Any:
    """The tiny model as `transformers` loads it from our package."""
    if kind == "causal":
        save_model(make(), folder / "base", end_of_text=0)
        return transformers.AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
    save_classifier(make_classifier(), folder / "base", end_of_text=0)
    return transformers.AutoModelForSequenceClassification.from_pretrained(folder / "base", dtype=torch.float32)


@torch.no_grad()
def answers(model: Any) -> Tensor:
    """Logits of some rows, which are all full: (2, T, V), or (2, labels)."""
    rows = ids().clamp(min=1)  # 0 would be padding
    if isinstance(model, Classifier):
        classes: Tensor = model(rows, torch.full((len(rows),), rows.shape[1]))
        return classes
    found = model(rows)
    logits: Tensor = found if isinstance(found, Tensor) else found.logits
    return logits
