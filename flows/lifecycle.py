"""lifecycle: the whole way, from text to models that serve."""

from prefect import State, flow

from flows import stages
from flows.deploy import release_and_deploy
from flows.finetune_classify import classifier
from flows.finetune_instruct import assistant
from flows.models import base_model, champion_of, missing_version
from flows.pipeline.tasks import ended, run
from flows.recipes.recipes import LifecycleRecipe


@flow(
    name="lifecycle",
    description="The whole way: validate data, pretrain (or take a base model), finetune, evaluate, register, release, deploy.",
)
def lifecycle(recipe: LifecycleRecipe) -> State[None] | None:
    corpus = run(stages.validate_data(recipe.data))
    base = base_model(recipe.base, run)
    tokens = run(stages.prepare_data(recipe.data, recipe.tokenizer, corpus, base))
    package = base or run(stages.pretrain(recipe.pretrain, tokens))["package"]
    evidence = run(stages.evaluate(recipe.evaluation, package, tokens, champion_of(recipe.registration.name)))
    registered = run(stages.register(recipe.registration, package, evidence, missing_version))
    release_and_deploy(recipe.release, registered, recipe.registration.target)
    if recipe.includes(recipe.classify):
        release_and_deploy(recipe.release, classifier(recipe.classify, recipe.data, package), recipe.classify.target)
    if recipe.includes(recipe.instruct):
        release_and_deploy(recipe.release, assistant(recipe.instruct, recipe.data, package), recipe.instruct.target)
    return ended()
