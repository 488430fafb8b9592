"""`model.depth` is one dial: what it fills in is used, what the recipe says itself wins, contradictions are named."""

from pathlib import Path

import pytest
import yaml

from flows.recipes.depth import derived
from flows.recipes.loading import load_recipe
from flows.recipes.recipes import LifecycleRecipe, PretrainRecipe
from infra.store.errors import InputError


def test_a_depth_alone_is_a_whole_recipe_of_pretraining() -> None:
    recipe = load_recipe(PretrainRecipe, "", ["model.depth=4"])
    found = derived(recipe.pretrain, recipe.tokenizer.vocabulary)
    assert (found["width"], found["heads"], found["hidden"]) == (256, 4, 704)
    for key in ("batch_size", "learning_rate", "tokens_per_parameter"):
        assert found[key]["derived"] == found[key]["taken"] == getattr(recipe.training, key)
    assert recipe.training.tokens_per_parameter == 20
    assert (recipe.training.batch_size, recipe.training.learning_rate) != (16, 3e-3)  # the defaults without a depth


def test_what_the_recipe_says_itself_wins_and_the_plan_shows_both(tmp_path: Path) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text(yaml.safe_dump({"pretrain": {"model": {"depth": 3}, "training": {"batch_size": 2, "steps": 50}}}))
    recipe = load_recipe(LifecycleRecipe, str(path))
    assert recipe == load_recipe(LifecycleRecipe, str(path), [])
    found = derived(recipe.pretrain, recipe.tokenizer.vocabulary)
    assert recipe.pretrain.training.batch_size == 2
    assert found["batch_size"]["taken"] == 2
    assert recipe.pretrain.training.steps == 50
    assert recipe.pretrain.training.tokens_per_parameter == 0
    again = load_recipe(PretrainRecipe, str(path), ["training.learning_rate=0.5"])
    assert again.training.learning_rate == 0.5
    assert derived(again.pretrain, 4096)["learning_rate"] == {"derived": recipe.pretrain.training.learning_rate, "taken": 0.5}


def test_a_preset_and_a_depth_contradict_each_other_but_the_last_one_said_counts(tmp_path: Path) -> None:
    path = tmp_path / "both.yaml"
    path.write_text("model:\n  preset: llama-5m\n  depth: 3\ntraining:\n  steps: 5\n")
    with pytest.raises(InputError, match=r"model\.preset and model\.depth both say which model"):
        load_recipe(PretrainRecipe, str(path))
    assert load_recipe(PretrainRecipe, "tiny", ["model.depth=3"]).model.name == "depth-3"
    assert load_recipe(PretrainRecipe, "tiny", ["model.depth=3", "model.preset=llama-tiny"]).model.name == "llama-tiny"
    assert derived(load_recipe(PretrainRecipe, "tiny").pretrain, 4096) == {}


def test_epochs_leave_the_horizon_open() -> None:
    with pytest.raises(InputError, match=r"training\.epochs leaves open how many tokens there are"):
        load_recipe(PretrainRecipe, "", ["model.depth=3", "training.epochs=2"])
    settings = ["model.depth=3", "training.epochs=2", "training.batch_size=8", "training.learning_rate=0.002"]
    assert load_recipe(PretrainRecipe, "", settings).training.epochs == 2


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("model.depth=-1", "depth is -1"),
        ("model.depth=1000", "depth is 1000"),
        ("model.depth=deep", "depth is 'deep'"),
        ("tokenizer.vocabulary=many", "vocabulary is 'many'"),
        ("training.batch_size=0", "batch_size is 0"),
    ],
)
def test_a_wrong_value_beside_a_depth_is_named_and_nothing_breaks(setting: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_recipe(PretrainRecipe, "", ["model.depth=3", setting])
