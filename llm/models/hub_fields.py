"""The fields of a `config.json`, read one by one; all that is wrong with them is said at once."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar

from infra.store.errors import InputError

T = TypeVar("T")

_WORDS: Final = (
    # what the model is called and how it is stored
    "architectures model_type torch_dtype dtype transformers_version name_or_path "
    # labels: llm.models.hub_config reads them
    "id2label label2id num_labels problem_type finetuning_task task_specific_params "
    # how it was started and trained
    "initializer_range gradient_checkpointing attention_dropout hidden_dropout hidden_dropout_prob classifier_dropout "
    "unsloth_fixed unsloth_version "
    # what a call returns
    "use_cache return_dict output_attentions output_hidden_states torchscript use_bfloat16 chunk_size_feed_forward tf_legacy_loss "
    # how text is generated, which is generation_config.json's now
    "max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p "
    "repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size num_return_sequences "
    "return_dict_in_generate output_scores remove_invalid_values exponential_decay_length_penalty suppress_tokens "
    "begin_suppress_tokens bad_words_ids prefix "
    # tokens: the tokenizer's files name them
    "bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id forced_bos_token_id forced_eos_token_id "
    "tokenizer_class"
)
_HARMLESS: Final = frozenset(_WORDS.split())
"""Fields that have no bearing on what the model computes."""
_OFF: Final[tuple[Any, ...]] = (None, False, {}, [], "")


class Fields:
    """What was read so far stands in `given`; problems gather until `refuse_others` raises them."""

    def __init__(self, given: Mapping[str, Any], where: str) -> None:
        self.given, self.where = given, where
        self.problems: list[str] = []
        self.mends: list[str] = []

    def refuse(self, what: str, mend: str = "") -> None:
        self.problems.append(what)
        if mend:
            self.mends.append(mend)

    def size(self, name: str, default: int | None = None) -> int:
        """A whole number above 0; without a default it has to be there. 1 where it is refused."""
        value = self.given.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        self.refuse(f"no {name}" if value is None else f"{name}={value!r}")
        return 1

    def number(self, name: str, default: float) -> float:
        return self.number_in(self.given, name, default)

    def number_in(self, given: Mapping[str, Any], name: str, default: float | None) -> float:
        value = default if given.get(name) is None else given[name]
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return float(value)
        self.refuse(f"no {name}" if value is None else f"{name}={value!r}")
        return 1.0

    def truth(self, name: str, *, default: bool) -> bool:
        value = default if self.given.get(name) is None else self.given[name]
        if not isinstance(value, bool):
            self.refuse(f"{name}={value!r}")
        return bool(value)

    def checked(self, make: Callable[[], T]) -> T | None:
        """What `make` makes, unless something is refused already or it refuses."""
        if self.problems:
            return None
        try:
            return make()
        except InputError as error:
            self.refuse(error.what, error.mend)
            return None

    def refuse_others(self, only: Mapping[str, tuple[Any, ...]], known: Collection[str]) -> None:
        """Raises InputError with all problems: those met, fields with another value than `only` says, fields nobody knows.

        A field that nobody knows is taken for switched off where its value is nothing, False or empty.
        """
        for name, value in self.given.items():
            if name in only:
                if value not in only[name]:
                    self.refuse(f"{name}={value!r}")
            elif name not in known and name not in _HARMLESS and not name.startswith("_") and value not in _OFF:
                self.refuse(
                    f"{name}={_short(value)}",
                    f"If {name} has no bearing on the result, take it out of config.json.",
                )
        if self.problems:
            raise InputError(
                f"not a model this Slipway knows ({', '.join(self.problems)})",
                where=self.where,
                mend=self.mends[0] if self.mends else "What is known stands in llm/models/hub_config.py.",
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
