"""Decoding, one stream: `python -m benchmarks.decoding [--models llama-14m gpt2-124m] [--rounds N] [--tokens N] [--json]`.

The same random weights for everybody; a prompt of 32 tokens, then the likeliest token each time, through the door a user would
take: `generate` here, `generate` there. Contenders take turns in one process; what counts is the ratio of a round. llama.cpp takes
part where `llama_cpp` and the export to GGUF are there.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch

from llm.models.build import new_model
from llm.models.causal import CausalModel
from llm.models.decoding import Decoder
from llm.models.gguf import export_gguf
from llm.models.hub import save_model
from llm.models.presets import PRESETS
from llm.serving.sampling import Model, generate
from llm.text.tokenizer import Tokenizer

MODELS: Final = ("llama-14m", "gpt2-124m")
PROMPT: Final = 32
PEER: Final = "transformers bf16"
Run = Callable[[int], None]


@dataclass(frozen=True)
class Contender:
    """name: whose, and in which precision; run: makes so many tokens after the prompt."""

    name: str
    run: Run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=64, help="new tokens of each generation (%(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: this process's seconds of processor, where others are at work too",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    measured = {name: _measure(name, options) for name in options.models}
    document = _document(measured, options)
    print(json.dumps(document, indent=2) if options.json else _text(document))


def _measure(name: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Tokens per second of each contender, round by round."""
    rounds, tokens, clock = options.rounds, options.tokens, time.process_time if options.clock == "cpu" else time.perf_counter
    with tempfile.TemporaryDirectory() as scratch:
        contenders = list(_contenders(name, Path(scratch), options.threads))
        speeds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
        for contender in contenders:
            contender.run(8)  # allocates, and warms the caches
        for number in range(rounds):
            turn = number % len(contenders)
            for contender in contenders[turn:] + contenders[:turn]:
                began = clock()
                contender.run(tokens)
                speeds[contender.name].append(tokens / (clock() - began))
            _say(f"{name}, round {number + 1} of {rounds}: " + ", ".join(f"{who} {each[-1]:.0f}" for who, each in speeds.items()))
        return speeds


def _contenders(name: str, folder: Path, threads: int) -> Iterator[Contender]:
    model = new_model(PRESETS[name]).eval()
    prompt = torch.randint(0, 200, (PROMPT,), generator=torch.Generator().manual_seed(0)).tolist()
    yield from _transformers(model, folder, prompt)
    yield Contender("slipway fp32", _ours(model, prompt))
    bf16, int8 = Decoder(model, "bf16"), Decoder(model, "int8")
    if bf16.notice:
        _say(f"the C++ step is not there: {bf16.notice}")
    yield Contender("slipway bf16", _ours(bf16, prompt))
    yield Contender("slipway int8", _ours(int8, prompt))
    yield from _llama_cpp(folder, prompt, threads)


def _ours(model: Model, prompt: list[int]) -> Run:
    def run(count: int) -> None:
        ids = list(generate(model, prompt, max_new_tokens=count, temperature=0))
        assert len(ids) == count

    return run


def _transformers(model: CausalModel, folder: Path, prompt: list[int]) -> Iterator[Contender]:
    """Both precisions: without instructions for bf16 its bf16 may be the slower one."""
    from transformers import AutoModelForCausalLM  # a peer, of the extra `bench`

    tokenizer = Tokenizer.train(["a peer reads text, this benchmark ids"], 257)
    save_model(model, folder / "model", end_of_text=tokenizer.eos)
    tokenizer.save(folder / "model", context_length=model.config.context_length)
    ids = torch.tensor([prompt])
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        theirs: Any = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=dtype)
        theirs.eval()

        def run(count: int, theirs: Any = theirs) -> None:
            with torch.inference_mode():
                made = theirs.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    do_sample=False,
                    max_length=None,
                    max_new_tokens=count,
                    min_new_tokens=count,
                    pad_token_id=tokenizer.eos,
                )
            assert made.shape[1] == PROMPT + count

        yield Contender(f"transformers {precision}", run)


def _llama_cpp(folder: Path, prompt: list[int], threads: int) -> Iterator[Contender]:
    if missing := [name for name in ("llama_cpp", "gguf") if importlib.util.find_spec(name) is None]:
        _say(f"llama.cpp does not take part: no {', '.join(missing)} here")
        return
    llama_cpp = importlib.import_module("llama_cpp")  # a peer, of the extra `bench`
    path = folder / "model.gguf"
    export_gguf(folder / "model", path, outtype="f16")
    theirs = llama_cpp.Llama(str(path), n_ctx=256, n_threads=threads, n_threads_batch=threads, verbose=False)

    def run(count: int) -> None:
        theirs.reset()
        made = theirs.generate(prompt, temp=0.0, top_k=1, reset=True)
        assert len([index for _, index in zip(range(count), made, strict=False)]) == count

    yield Contender("llama.cpp f16", run)


def _document(measured: dict[str, dict[str, list[float]]], options: argparse.Namespace) -> dict[str, Any]:
    document: dict[str, Any] = {name: getattr(options, name) for name in ("rounds", "tokens", "threads", "clock")}
    for name, speeds in measured.items():
        size = name.rpartition("-")[2]
        for ours, key in (("slipway bf16", f"ratio_{size}"), ("slipway int8", f"ratio_{size}_int8")):
            document[key] = interval([a / b for a, b in zip(speeds[ours], speeds[PEER], strict=True)])
            document[f"{key}_to_fp32"] = interval([a / b for a, b in zip(speeds[ours], speeds["transformers fp32"], strict=True)])
    document["peers"] = {name: {who: round(median(each), 1) for who, each in speeds.items()} for name, speeds in measured.items()}
    return document


def interval(ratios: list[float]) -> dict[str, float]:
    """The median with a 95 % interval that assumes no distribution: order statistics whose ranks a fair coin would leave out."""
    ordered, n = sorted(ratios), len(ratios)
    tail, rank, chance = 0.0, 0, 0.5**n
    while tail + chance <= 0.025 and rank < (n - 1) // 2:
        tail += chance
        chance *= (n - rank) / (rank + 1)
        rank += 1
    low, high = ordered[max(rank - 1, 0)], ordered[n - max(rank, 1)]
    return {"median": round(median(ordered), 3), "low": round(low, 3), "high": round(high, 3)}


def _text(document: dict[str, Any]) -> str:
    told = (f"{document[name]} {name}" for name in ("tokens", "threads", "rounds"))
    lines = [f"after a prompt of {PROMPT}: {', '.join(told)}, {document['clock']} clock"]
    for name, speeds in document["peers"].items():
        lines += ["", f"{name:<20} tokens/s (median)", *(f"  {who:<18} {speed:8.1f}" for who, speed in speeds.items())]
    lines.append("")
    ratios = {key: value for key, value in document.items() if key.startswith("ratio_")}
    for key, each in ratios.items():
        lines.append(f"{key:<26} {each['median']:6.2f}  [{each['low']:.2f}, {each['high']:.2f}]")
    return "\n".join(lines)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
