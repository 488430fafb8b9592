"""finetune-classify: a base model learns to tell classes of text apart, is measured and registered."""

from prefect import flow

from flows import stages
from flows.models import base_model, champion_of, missing_version
from flows.pipeline.session import Walked
from flows.pipeline.stage import Input
from flows.pipeline.tasks import run
from flows.pretrain import pretrained
from flows.recipes.recipes import FinetuneClassifyRecipe
from flows.recipes.sections import ClassifyConfig, RegistrationConfig
from llm.data.config import DataConfig


@flow(
    name="finetune-classify", description="Finetune a base model to classify texts, measure it beside simple rivals, register it."
)
def finetune_classify(recipe: FinetuneClassifyRecipe) -> Walked:
    base = base_model(recipe.base, run) or pretrained(recipe, recipe.pretrain)["package"]
    return classifier(recipe.classify, recipe.data, base)


def classifier(config: ClassifyConfig, corpus: DataConfig, base: Input) -> Walked:
    """From a base model to a registered classifier, as a part of other flows too. `corpus` is what the base was pretrained on."""
    examples = run(stages.prepare_classification(config.data, corpus))
    package = run(stages.finetune_classify(config.training, base, examples))["package"]
    evidence = run(stages.evaluate_classifier(config.evaluation, package, examples, champion_of(config.name)))
    return run(stages.register(RegistrationConfig(name=config.name), package, evidence, missing_version))
