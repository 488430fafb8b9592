"""A model of any family, from its configuration."""

from llm.models.causal import CausalModel
from llm.models.config import CausalConfig, GPT2Config
from llm.models.gpt2 import GPT2
from llm.models.llama import Llama


def new_model(config: CausalConfig) -> CausalModel:
    """Freshly initialised, on torch's current device."""
    return GPT2(config) if isinstance(config, GPT2Config) else Llama(config)
