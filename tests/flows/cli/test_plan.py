"""`slipway plan` says what a training costs and whether it fits, before a GPU is paid for."""

import json
import time
from typing import Any

import pytest

from flows.cli import main
from flows.cli.output import size
from flows.cli.plan_text import text
from llm.models.presets import preset

LARGE = (
    "tiny",
    "--set",
    "model.preset=llama3.2-1b",
    "--set",
    "tokenizer.vocabulary=128256",
    "--set",
    "training.sequence_length=4096",
    "--set",
    "training.batch_size=128",
    "--set",
    "training.tokens_per_parameter=20",
)


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    with pytest.raises(SystemExit) as ended:
        main(["plan", *arguments])
    out = capsys.readouterr().out
    return int(ended.value.code or 0), json.loads(out) if "--json" in arguments else out


def test_a_plan_for_gpus_states_size_time_and_money(capsys: pytest.CaptureFixture[str]) -> None:
    code, document = plan(capsys, *LARGE, "--gpu", "h200", "--gpus", "8", "--json")
    assert code == 0
    model = preset("llama3.2-1b", vocabulary=128_256, context_length=4096)
    assert document["parameters"] == model.parameters()
    assert document["tokens_per_parameter"] == pytest.approx(20, rel=0.001)
    assert document["memory"]["weights"] == pytest.approx(4 * model.parameters(), rel=0.001)
    assert document["memory"]["peak"] == document["memory_bytes"]
    assert document["gpu_hours"] == pytest.approx(8 * document["tokens"] / document["tokens_per_second"] / 3600)
    assert document["money"] == pytest.approx(document["gpu_hours"] * document["price"])
    assert "October 2026" in document["price_source"]
    assert [run["model"] for run in document["known_runs"]] == ["GPT-3 175B", "Chinchilla 70B", "Llama 2 7B", "Llama 3 8B"]


def test_the_model_that_is_planned_is_the_one_that_would_be_trained(capsys: pytest.CaptureFixture[str]) -> None:
    _, document = plan(capsys, "tiny", "--set", "tokenizer.vocabulary=4000", "--gpu", "h200", "--json")
    padded = preset("llama-5m", vocabulary=4032, context_length=256)  # to a multiple of 64, as pretraining pads it
    assert document["parameters"] == padded.parameters()


def test_what_is_given_is_what_is_reckoned_with(capsys: pytest.CaptureFixture[str]) -> None:
    common = (*LARGE, "--gpu", "h200", "--gpus", "8", "--price", "3", "--json")
    _, half = plan(capsys, *common, "--mfu", "0.5")
    _, quarter = plan(capsys, *common, "--mfu", "0.25")
    assert quarter["seconds"] == pytest.approx(2 * half["seconds"])
    assert quarter["money"] == pytest.approx(2 * half["money"])
    assert (half["price"], half["price_source"]) == (3, "given")
    _, given = plan(capsys, *common, "--tokens-per-second", "100000")
    assert given["seconds"] == pytest.approx(given["tokens"] / 100_000)


def test_a_recipe_that_cannot_fit_is_told_by_how_much_and_what_would_make_it_fit(capsys: pytest.CaptureFixture[str]) -> None:
    _, document = plan(capsys, *LARGE, "--gpu", "a100-80", "--gpus", "8", "--json")
    assert not document["fits"]
    assert document["memory_bytes"] > document["memory_limit_bytes"]
    advice = {lever["what"].split("=")[0]: lever for lever in document["levers"]}
    assert {"training.micro_batch_size", "training.activation_checkpointing"} <= set(advice)
    lever = advice["training.micro_batch_size"]
    _, mended = plan(capsys, *LARGE, "--set", lever["what"], "--gpu", "a100-80", "--gpus", "8", "--json")
    assert mended["fits"]
    assert mended["memory_bytes"] == lever["peak"]
    _, told = plan(capsys, *LARGE, "--gpu", "a100-80", "--gpus", "8")
    assert "It does not fit, by " in told
    assert f"- {lever['what']}: " in told


def test_a_recipe_that_shards_is_planned_in_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    common = (*LARGE, "--gpu", "a100-80", "--gpus", "8", "--json")
    _, whole = plan(capsys, *common)
    _, sharded = plan(capsys, *common, "--set", "training.parallel=fsdp")
    assert sharded["memory"]["optimizer"] == whole["memory"]["optimizer"] // 8
    assert sharded["memory_bytes"] < whole["memory_bytes"]
    assert not sharded["checkpoint_copy_bytes"]  # it lies in main memory


def test_the_plan_for_this_machine_is_held_against_a_real_step(capsys: pytest.CaptureFixture[str]) -> None:
    here = (
        "tiny",
        "--set",
        "model.preset=llama-tiny",
        "--set",
        "training.sequence_length=64",
        "--tokens-per-second",
        "9",
        "--measure",
    )
    code, document = plan(capsys, *here, "--json")
    assert code == 0
    assert document["memory_bytes"] == pytest.approx(document["measured_bytes"], rel=0.15)
    assert document["checkpoint_copy_bytes"] == document["memory"]["weights"] + document["memory"]["optimizer"]
    assert "for the copy of a checkpoint while it is written" in text(document)
    off = document["memory_bytes"] / document["measured_bytes"] - 1
    assert f"a real step here took {size(document['measured_bytes'])}: the estimate is {off:+.1%} off" in text(document)


def test_a_plan_answers_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    plan(capsys, "tiny", "--gpu", "h200", "--json")
    began = time.process_time()
    plan(capsys, *LARGE, "--gpu", "a100-80", "--gpus", "8", "--json")
    assert time.process_time() - began < 0.5, "it reckons, it does not try"


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (("--gpu", "h1000"), "--gpu"),
        (("--gpus", "8"), "--gpus"),
        (("--mfu", "0.4"), "--mfu"),
        (("--price", "3"), "--price"),
        (("--gpu", "h200", "--gpus", "3"), "--gpus"),
        (("--gpu", "h200", "--measure"), "--measure"),
        (("--gpu", "h200", "--mfu", "0.4", "--tokens-per-second", "9"), "--mfu"),
        (("--gpu", "h200", "--set", "training.precision=fp32"), "training.precision"),
        (("--gpu", "h200", "--mfu", "1.5"), "slipway plan"),
    ],
)
def test_a_question_without_an_answer_is_refused_by_name(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], where: str
) -> None:
    code, document = plan(capsys, "tiny", *arguments, "--json")
    assert (code, document["error"]["where"]) == (2, where)
