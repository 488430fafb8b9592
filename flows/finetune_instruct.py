"""finetune-instruct: a base model learns to answer questions, is measured and registered as an assistant."""

from prefect import flow

from flows import stages
from flows.models import base_model, champion_of, missing_version
from flows.pipeline.session import Walked
from flows.pipeline.stage import Input
from flows.pipeline.tasks import run
from flows.pretrain import pretrained
from flows.recipes.recipes import FinetuneInstructRecipe
from flows.recipes.sections import InstructConfig, RegistrationConfig
from llm.data.config import DataConfig


@flow(
    name="finetune-instruct",
    description="Finetune a base model to answer questions, measure it beside the base model, register it as an assistant.",
)
def finetune_instruct(recipe: FinetuneInstructRecipe) -> Walked:
    base = base_model(recipe.base, run) or pretrained(recipe, recipe.pretrain)["package"]
    return assistant(recipe.instruct, recipe.data, base)


def assistant(config: InstructConfig, corpus: DataConfig, base: Input) -> Walked:
    """From a base model to a registered assistant, as a part of other flows too. `corpus` is what the base was pretrained on."""
    examples = run(stages.prepare_instructions(config.data, corpus))
    package = run(stages.finetune_instruct(config.training, base, examples))["package"]
    evidence = run(stages.evaluate_assistant(config.evaluation, package, base, examples, champion_of(config.name)))
    return run(stages.register(RegistrationConfig(name=config.name), package, evidence, missing_version))
