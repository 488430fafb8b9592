"""How the arithmetic is done is decided once, for a reason, and never changes under a run."""

import shutil
import sysconfig
from dataclasses import replace

import pytest
import torch

from infra.store.errors import InputError
from llm.training import numerics as module
from llm.training.numerics import Numerics


@pytest.fixture(autouse=True)
def two_threads_with_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(module, "fastest_device", lambda: "cpu")
    monkeypatch.setattr(module, "no_compiler", lambda device: "")


def test_a_run_compiles_where_it_wins_more_than_compiling_costs() -> None:
    short = Numerics.decide("fp32", compile="auto", flops=2.4e13)  # llama-5m, 700 steps of 1,024 tokens
    long = Numerics.decide("fp32", compile="auto", flops=1e15)
    assert not short.compile
    assert "compiling costs about 20 s and would save 15 s" in short.reason
    assert long.compile
    assert not Numerics.decide("fp32", compile="never", flops=1e15).compile
    assert Numerics.decide("fp32", compile="always").compile


def test_without_a_compiler_a_run_is_eager_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "no_compiler", lambda device: "no C++ compiler is installed")
    decided = Numerics.decide("fp32", compile="auto", flops=1e15)
    assert not decided.compile
    assert "no C++ compiler is installed" in decided.reason
    with pytest.raises(InputError, match="no C\\+\\+ compiler is installed"):
        Numerics.decide("fp32", compile="always")


def test_a_run_that_began_compiled_does_not_go_on_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = Numerics.decide("fp32", compile="always")
    assert Numerics.recorded(begun.document(), "pretrain") == begun
    monkeypatch.setattr(module, "no_compiler", lambda device: "no C++ compiler is installed")
    with pytest.raises(InputError, match=r"began compiled: no C\+\+ compiler[^$]*--force pretrain"):
        Numerics.recorded(begun.document(), "pretrain")


def test_a_run_goes_on_with_the_chunks_of_its_loss_or_not_at_all() -> None:
    begun = Numerics.decide("fp32")
    with pytest.raises(InputError, match="logits at once"):
        Numerics.recorded(replace(begun, logits_at_once=1).document(), "pretrain")
    older = begun.document()
    del older["logits_at_once"]
    with pytest.raises(InputError, match="another version"):
        Numerics.recorded(older, "pretrain")


def test_float8_is_refused_where_the_hardware_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="Hopper"):
        Numerics.decide("fp8")


def test_a_compiler_is_looked_for_under_its_usual_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "C++ compiler" in module.no_compiler("cpu")
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: "/nowhere")
    assert "Python.h" in module.no_compiler("cpu")


def test_a_run_that_began_with_another_attention_does_not_go_on() -> None:
    begun = Numerics.decide("bf16")
    assert begun.attention == "blockwise"
    assert Numerics.recorded(begun.document(), "pretrain") == begun
    assert Numerics.decide("fp32").attention == "sdpa"
    with pytest.raises(InputError, match=r"began with sdpa attention, this version's is blockwise[^$]*--force pretrain"):
        Numerics.recorded({**begun.document(), "attention": "sdpa"}, "pretrain")
