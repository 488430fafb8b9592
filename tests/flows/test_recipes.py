"""Recipes: one file serves every flow, every mistake is named at once with the nearest right word, the form shows it all."""

from datetime import date
from pathlib import Path

import pytest

from flows.catalog import FLOWS
from flows.recipes.loading import load_recipe, preset_names
from flows.recipes.recipes import (
    EvaluateRecipe,
    FinetuneClassifyRecipe,
    LifecycleRecipe,
    PrepareDataRecipe,
    PretrainRecipe,
    ReviewRecipe,
)
from infra.store.errors import InputError

# What no preset can say: which version is meant, and what a person thinks of it.
SAID = {
    "release": ["model=models:/ship/1"],
    "review": ["model=models:/ship/1", "decision=approve", "reason=reads well"],
    "deploy": ["model=models:/ship@champion"],
    "adapt": ["base=models:/ship@champion", "classify.data.path=mail.csv"],
}


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_serves_every_flow(flow: str, preset: str) -> None:
    recipe = load_recipe(FLOWS[flow].recipe, preset, SAID.get(flow, []))
    assert recipe.problems() == []


def test_a_decision_without_a_version_or_a_reason_is_no_recipe() -> None:
    with pytest.raises(InputError, match="model is missing") as raised:
        load_recipe(ReviewRecipe, "tiny", ["decision=approve", "reason=' '"])
    assert "reason is ' '" in raised.value.what


def test_reviewers_that_nobody_would_ask_are_a_mistake() -> None:
    with pytest.raises(InputError, match="release.policy is automatic: nobody would ask them"):
        load_recipe(LifecycleRecipe, "tiny", ["release.reviewers=[ann]"])
    named = load_recipe(LifecycleRecipe, "tiny", ["release.reviewers=[ann]", "release.policy=named"])
    assert named.release.reviewers == ("ann",)


def test_a_preset_says_the_same_to_pretrain_and_to_the_lifecycle() -> None:
    assert load_recipe(PretrainRecipe, "tiny").pretrain == load_recipe(LifecycleRecipe, "tiny").pretrain


@pytest.mark.parametrize("key", ["training.steps", "pretrain.training.steps"])
def test_a_key_of_pretraining_is_understood_with_and_without_its_section(key: str) -> None:
    assert load_recipe(PretrainRecipe, "tiny", [f"{key}=7"]).training.steps == 7
    assert load_recipe(LifecycleRecipe, "tiny", [f"{key}=7"]).pretrain.training.steps == 7


def test_the_last_way_to_say_how_long_counts() -> None:
    training = load_recipe(PretrainRecipe, "tiny", ["training.epochs=2"]).training
    assert (training.steps, training.epochs) == (0, 2.0)


def test_settings_are_read_as_what_they_are() -> None:
    settings = ["training.learning_rate=3e-4", "data.path=1984.txt", "evaluation.prompts=[a, b]", "evaluation.beat_ngram=true"]
    recipe = load_recipe(LifecycleRecipe, "tiny", settings)
    assert recipe.pretrain.training.learning_rate == 3e-4
    assert recipe.data.path == "1984.txt"
    assert recipe.evaluation.prompts == ("a", "b")
    assert recipe.evaluation.beat_ngram is True


def test_a_waiver_says_who_why_and_until_which_day() -> None:
    waiver = "{expectation: max_duplicate_share, who: ann, reason: a refrain, expires: 2027-01-31}"
    recipe = load_recipe(LifecycleRecipe, "tiny", [f"data.expectations.waivers=[{waiver}]"])
    assert recipe.data.expectations.waivers[0].expires == date(2027, 1, 31)
    for wrong, phrase in ((waiver.replace("ann", "' '"), "who is empty"), (waiver.replace("2027-01-31", "soon"), "expires")):
        with pytest.raises(InputError, match=rf"data\.expectations\.waivers.*{phrase}"):
            load_recipe(LifecycleRecipe, "tiny", [f"data.expectations.waivers=[{wrong}]"])


def test_sources_of_a_mixture_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("data: {sources: [{path: a/x.txt}, {path: b/x.jsonl}]}\n")
    with pytest.raises(InputError, match=r"data\.sources: 'x' is the name of two sources"):
        load_recipe(LifecycleRecipe, str(tmp_path / "my.yaml"))


def test_two_typos_are_both_named_with_the_nearest_known_keys(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("tokenizer:\n  vocabulry: 300\npretrain:\n  training:\n    step: 5\n")
    with pytest.raises(InputError) as caught:
        load_recipe(LifecycleRecipe, str(path))
    assert "unknown key tokenizer.vocabulry, the nearest known one is tokenizer.vocabulary" in caught.value.what
    assert "unknown key pretrain.training.step, the nearest known one is pretrain.training.steps" in caught.value.what
    assert caught.value.where == f"recipe {path}"


def test_a_key_in_the_wrong_section_is_found() -> None:
    with pytest.raises(InputError, match=r"data\.batch_size, the nearest known one is pretrain\.training\.batch_size"):
        load_recipe(LifecycleRecipe, "tiny", ["data.batch_size=3"])


def test_a_key_of_its_own_section_is_the_nearest_one() -> None:
    with pytest.raises(InputError, match=r"classify\.trainin\.epochs, the nearest known one is classify\.training\.epochs"):
        load_recipe(LifecycleRecipe, "tiny", ["classify.trainin.epochs=3"])


def test_classifying_needs_texts_and_the_last_way_to_say_how_long_counts_there_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"classify\.data\.path is empty"):
        load_recipe(FinetuneClassifyRecipe, "tiny", ["classify.data.path="])
    training = load_recipe(FinetuneClassifyRecipe, "tiny", ["classify.training.steps=7"]).classify.training
    assert (training.steps, training.epochs) == (7, 0.0)
    (tmp_path / "my.yaml").write_text("data:\n  path: text.txt\n")
    assert load_recipe(LifecycleRecipe, str(tmp_path / "my.yaml")).classify.data.path == ""
    assert load_recipe(FinetuneClassifyRecipe, str(tmp_path / "my.yaml")).classify.data.path == "python-stdlib"


def test_all_problems_of_values_are_reported_at_once() -> None:
    settings = ["training.steps=1", "training.warmup_share=0.9", "training.workers=3", "training.batch_size=8"]
    with pytest.raises(InputError) as caught:
        load_recipe(PretrainRecipe, "tiny", settings)
    assert "2 problems" in caught.value.what
    with pytest.raises(InputError, match="(?s)2 problems.*batch_size is 0.*learning_rate is 'fast'"):
        load_recipe(PretrainRecipe, "tiny", ["training.batch_size=0", "training.learning_rate=fast"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: [", "not YAML"),
        ("- a\n- b\n", "a recipe is a mapping"),
        ("data: 3\n", "data is 3"),
        ("nonsense: 1\n", "unknown key nonsense"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        load_recipe(LifecycleRecipe, str(path))


def test_a_recipe_that_is_not_there_names_the_presets() -> None:
    with pytest.raises(InputError, match=r"did you mean tiny\? presets are small, tiny"):
        load_recipe(LifecycleRecipe, "tinny")


@pytest.mark.parametrize("recipe", [PrepareDataRecipe, PretrainRecipe, FinetuneClassifyRecipe, EvaluateRecipe, LifecycleRecipe])
def test_the_form_explains_every_field_and_shows_its_bounds(recipe: type[LifecycleRecipe]) -> None:
    schema = recipe.model_json_schema()
    for name, section in schema["$defs"].items():
        for field, facts in section.get("properties", {}).items():
            assert facts.get("description") or "$ref" in facts, f"{name}.{field} has no help"
    assert (
        schema["$defs"]["TokenizerConfig"]["properties"]["vocabulary"] | {"minimum": 260, "default": 4096}
        == schema["$defs"]["TokenizerConfig"]["properties"]["vocabulary"]
    )
