"""A decoder says what its model says: as far as the rounding of its weights lets it, and through whichever door the token came."""

import ctypes
import math
import subprocess
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from llm.models import decoding_kernel
from llm.models.build import new_model
from llm.models.causal import CausalModel
from llm.models.config import CausalConfig, GPT2Config, LlamaConfig, RopeScaling
from llm.models.decoding import Decoder, Precision
from llm.serving.sampling import generate

CONFIGS: dict[str, CausalConfig] = {
    "llama": LlamaConfig(vocabulary=512, context_length=96, n_layers=2, width=64, n_heads=4, n_kv_heads=4, hidden=176, tied=False),
    "qwen2": LlamaConfig(
        vocabulary=512, context_length=96, n_layers=2, width=64, n_heads=4, n_kv_heads=2, hidden=176, qkv_bias=True
    ),
    # nothing here is a multiple of a vector
    "qwen3": LlamaConfig(
        vocabulary=515,
        context_length=96,
        n_layers=2,
        width=60,
        n_heads=6,
        n_kv_heads=2,
        head_width=22,
        hidden=77,
        qk_norm=True,
        rope_scaling=RopeScaling(kind="llama3", factor=8.0, original_context_length=32),
    ),
    "gpt2": GPT2Config(vocabulary=512, context_length=96, n_layers=2, width=64, n_heads=4, hidden=256),
}
TOLERANCE: dict[Precision, float] = {"bf16": 0.05, "int8": 0.15}
"""How far a log-probability may lie from fp32's: measured at most 0.037 and 0.11 on these models, whose logits deviate by 0.8."""


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> CausalModel:
    """Weights, biases and norms all drawn anew, so that each counts."""
    model = new_model(CONFIGS[request.param]).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


@pytest.fixture(params=["bf16", "int8"])
def precision(request: pytest.FixtureRequest) -> Precision:
    chosen: Precision = request.param
    return chosen


def _ids(rows: int, length: int) -> Tensor:
    return torch.randint(0, 512, (rows, length), generator=torch.Generator().manual_seed(2))


def _by_steps(decoder: Decoder, ids: Tensor, prompt: int) -> Tensor:
    """Log-probabilities (B, T - prompt + 1, V): the prompt at once, then a token at a time."""
    cache = decoder.cache(*ids.shape)
    steps = [ids[:, :prompt], *ids[:, prompt:].split(1, dim=1)]
    return torch.cat([decoder(step, cache=cache) for step in steps], dim=1).log_softmax(-1)


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def test_this_machine_compiles_the_step() -> None:
    assert isinstance(decoding_kernel.library(), ctypes.CDLL), decoding_kernel.library()


def test_decoding_says_what_the_model_says_as_far_as_rounded_weights_let_it(model: CausalModel, precision: Precision) -> None:
    ids = _ids(2, 90)
    with torch.no_grad():
        exact = model(ids).log_softmax(-1)
    decoder = Decoder(model, precision)
    assert _apart(decoder(ids).log_softmax(-1), exact) < TOLERANCE[precision]
    assert _apart(_by_steps(decoder, ids, 5), exact[:, 4:]) < TOLERANCE[precision]


@pytest.mark.parametrize("rows", [1, 3, 6])
def test_the_compiled_step_computes_what_torch_computes(model: CausalModel, precision: Precision, rows: int) -> None:
    """With the same rounded weights; keys and values in bf16 alone part the two, by less than a hundredth for most."""
    decoder, ids = Decoder(model, precision), _ids(rows, 80)
    stepwise, at_once = _by_steps(decoder, ids, 5), decoder(ids).log_softmax(-1)[:, 4:]
    assert _apart(stepwise, at_once) < 0.03
    assert float((stepwise - at_once).abs().mean()) < 0.004


def test_the_compiled_step_is_exact_beside_torch_on_the_same_cache(model: CausalModel, precision: Precision) -> None:
    """Keys and values rounded on both sides: what is left is the order of sums, and a key that falls to the other side."""
    fast, slow, ids = Decoder(model, precision), Decoder(model, precision), _ids(3, 72)
    slow._kernel = None
    caches = fast.cache(3, 80), slow.cache(3, 80)
    found = [
        [decoder(part, cache=cache).log_softmax(-1) for part in ids.split(70, dim=1)]
        for decoder, cache in zip((fast, slow), caches, strict=True)
    ]
    assert torch.equal(found[0][0], found[1][0])  # a long prompt goes through torch on both sides
    assert _apart(found[0][1], found[1][1]) < 2e-3
    assert _apart(caches[0].keys[0].float(), caches[1].keys[0].float()) < 0.02


@pytest.mark.parametrize("rows", [1, 3])
def test_a_prompt_may_come_in_pieces(model: CausalModel, precision: Precision, rows: int) -> None:
    decoder, ids = Decoder(model, precision), _ids(rows, 20)
    at_once, apart = decoder.cache(rows, 24), decoder.cache(rows, 24)
    whole = last = decoder(ids, cache=at_once)
    for piece in ids.split(1, dim=1):
        last = decoder(piece, cache=apart)
    assert _apart(whole, last) < 1e-2
    assert at_once.length == apart.length == 20


def test_the_number_of_threads_changes_no_answer(model: CausalModel, precision: Precision) -> None:
    decoder, ids, threads = Decoder(model, precision), _ids(1, 40), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = _by_steps(decoder, ids, 1)
        torch.set_num_threads(3)
        three = _by_steps(decoder, ids, 1)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, three)


def test_without_a_compiler_decoding_goes_on_and_says_why(
    model: CausalModel, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = _ids(1, 40)
    fast = _by_steps(Decoder(model, precision), ids, 5)
    monkeypatch.setattr(decoding_kernel, "library", lambda: "no C++ compiler (g++)")
    decoder = Decoder(model, precision)
    assert decoder.notice == "no C++ compiler (g++)"
    assert _apart(_by_steps(decoder, ids, 5), fast) < 0.1  # one token at a time, its sums are in bf16


def test_cached_decoding_in_fp32_takes_the_ids_of_the_full_pass(model: CausalModel) -> None:
    """The model itself, which is what serves in fp32: the same ids, and log-probabilities to rounding."""
    prompt = _ids(1, 7)[0].tolist()
    made = list(generate(model, prompt, max_new_tokens=80, temperature=0))
    ids, cache = torch.tensor([prompt + made]), model.cache(1, 96)
    with torch.no_grad():
        full = model(ids).log_softmax(-1)
        cached = torch.cat([model(step, cache=cache) for step in ids.split(1, dim=1)], dim=1).log_softmax(-1)
    assert made == full[0, len(prompt) - 1 : -1].argmax(-1).tolist()
    assert _apart(cached, full) < 2e-5


def test_weights_that_are_bf16_already_are_not_rounded_again(model: CausalModel) -> None:
    stored, ids = model.bfloat16(), _ids(1, 60)
    decoder = Decoder(stored, "bf16")
    with torch.no_grad():
        exact = stored.float()(ids).log_softmax(-1)
    assert _apart(decoder(ids).log_softmax(-1), exact) < 2e-5


def test_int8_takes_a_quarter_of_the_memory_of_fp32() -> None:
    config = CONFIGS["gpt2"]
    model = new_model(config)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    assert sum(tensor.nbytes for tensor in Decoder(model, "int8").parameters()) < 0.30 * weights
    assert sum(tensor.nbytes for tensor in Decoder(model, "bf16").parameters()) < 0.52 * weights


def test_real_text_costs_hardly_more_bits_in_low_precision() -> None:
    """A model trained on English: bits per byte under the rounded weights, beside its own."""
    text = torch.tensor(list((subprocess.__doc__ or "").encode()))
    config = LlamaConfig(vocabulary=256, context_length=64, n_layers=2, width=64, n_heads=4, n_kv_heads=2, hidden=176)
    model = new_model(config)
    generator, moved = torch.Generator().manual_seed(0), [torch.zeros_like(each) for each in model.parameters()]
    for _ in range(60):  # plain descent with momentum: torch.optim takes seconds to load
        rows = torch.stack([text[start : start + 65] for start in torch.randint(0, len(text) - 65, (8,), generator=generator)])
        loss = torch.nn.functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        size = torch.stack([gradient.norm() for gradient in gradients]).norm().clamp(min=1.0)
        with torch.no_grad():
            for parameter, gradient, velocity in zip(model.parameters(), gradients, moved, strict=True):
                parameter.sub_(0.5 * velocity.mul_(0.9).add_(gradient / size))
    rows = torch.stack([text[start : start + 65] for start in range(0, len(text) - 65, 65)])

    def bits(logits: Tensor) -> float:
        return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())) / math.log(2)

    with torch.no_grad():
        own = bits(model(rows[:, :-1]))
    assert own < 4.5  # it learned: 8 bits a byte before
    assert abs(bits(Decoder(model, "bf16")(rows[:, :-1])) / own - 1) < 0.001
    assert abs(bits(Decoder(model, "int8")(rows[:, :-1])) / own - 1) < 0.01


def test_what_lies_past_the_cache_or_the_vocabulary_is_refused(model: CausalModel, precision: Precision) -> None:
    decoder = Decoder(model, precision)
    cache = decoder.cache(1, 2)
    for _ in range(2):
        decoder(torch.tensor([[1]]), cache=cache)
    with pytest.raises(IndexError, match="past the cache"):
        decoder(torch.tensor([[1]]), cache=cache)
    with pytest.raises(IndexError, match="vocabulary"):
        decoder(torch.tensor([[515]]), cache=decoder.cache(1, 2))


@pytest.fixture
def _compiled_anew() -> Iterator[None]:
    decoding_kernel.library.cache_clear()
    yield
    decoding_kernel.library.cache_clear()


@pytest.mark.usefixtures("_compiled_anew")
def test_a_compiler_that_fails_is_named_with_its_reason(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_kernel, "_FLAGS", ("--no-such-flag",))
    reason = decoding_kernel.library()
    assert isinstance(reason, str)
    assert "does not compile decoding.cpp" in reason
    assert "no-such-flag" in reason


@pytest.mark.usefixtures("_compiled_anew")
def test_a_machine_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert decoding_kernel.library() == "no C++ compiler (g++, c++, clang++)"


def test_loading_the_step_leaves_the_arithmetic_of_the_process_alone() -> None:
    """A library linked for fast mathematics would flush denormals, and fp32 answers would not stay what they are."""
    assert isinstance(decoding_kernel.library(), ctypes.CDLL)
    assert float(torch.tensor([1e-40]) * 1.0) > 0
