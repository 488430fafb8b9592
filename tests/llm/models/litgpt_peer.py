"""Run by an interpreter that has litgpt: `litgpt_peer.py FOLDER`.

For each family, FOLDER/FAMILY/ours is a checkpoint that we wrote, and FAMILY/theirs is made here. Beside each a .json gets the
logits of ids 0 to 39, in fp32, and the ids that greedy decoding goes on with.
"""

import json
import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch
from litgpt import LLM, Config
from litgpt.generate.base import generate
from litgpt.model import GPT
from litgpt.utils import save_config

LLAMA: dict[str, Any] = {
    "norm_class_name": "RMSNorm",
    "bias": False,
    "parallel_residual": False,
    "mlp_class_name": "LLaMAMLP",
    "rotary_percentage": 1.0,
    "block_size": 64,
    "n_layer": 2,
    "n_embd": 64,
    "n_head": 4,
    "n_query_groups": 2,
    "intermediate_size": 96,
    "vocab_size": 384,
    "padded_vocab_size": 384,
    "rope_base": 50_000,
}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_seq_len": 32}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama3": {"rope_adjustments": LLAMA3},
    "mistral": {},
    "qwen2": {"attn_bias": True},
    "qwen3": {"norm_qk": True, "head_size": 32},
}


def tell(model: GPT, out: Path) -> None:
    ids = torch.arange(40)
    with torch.no_grad():
        logits = model(ids[None])[0].float()
        model.max_seq_length = 64
        model.set_kv_cache(batch_size=1)
        answer = generate(model, ids[:10], max_returned_tokens=30, temperature=0.0, top_k=1)
    out.write_text(json.dumps({"logits": logits.tolist(), "greedy": answer.tolist()}))


def load(folder: Path, out: Path) -> None:
    llm = LLM.load(str(folder), distribute=None)
    llm.distribute(accelerator="cpu", precision="32-true")
    said = llm.generate("the ship", max_new_tokens=5, top_k=1)
    assert isinstance(said, str)
    llm.model.clear_kv_cache()
    tell(llm.model, out)


def make(family: str, folder: Path, out: Path) -> None:
    torch.manual_seed(1)
    config = Config(name="peer", **{**LLAMA, **FAMILIES[family]})
    model = GPT(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    torch.save(model.state_dict(), folder / "lit_model.pth")
    save_config(config, folder)
    tell(model.eval(), out)


if __name__ == "__main__":
    L.seed_everything(0, verbose=False)
    for name in FAMILIES:
        place = Path(sys.argv[1]) / name
        load(place / "ours", place / "ours.json")
        (place / "theirs").mkdir()
        make(name, place / "theirs", place / "theirs.json")
