"""`--step`: the rows of a step as training read them, also across a resume and an epoch's end, and the documents they are of."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest

from flows.lineage.decode import decode_step
from flows.lineage.shelf import Shelf
from infra.store.errors import InputError
from llm.data.corpus import read_corpus
from llm.text.tokenizer import Tokenizer
from tests.flows.lineage.conftest import BATCH, CUT_OFF, LENGTH, STEPS, Lived, as_json

RESUMED = 8  # the last checkpoint before the cut
Changed = Callable[..., AbstractContextManager[None]]


def test_every_decoded_batch_is_the_one_that_training_read_also_after_a_resume_and_in_the_second_epoch(lived: Lived) -> None:
    record = lived.records["pretrain"]
    assert record.result["resumed_from"] == RESUMED
    ahead = len(lived.read) - CUT_OFF - (STEPS - RESUMED)  # batches that the first attempt had read when it was cut off
    assert 0 <= ahead <= 2
    read_at = [*range(1, CUT_OFF + ahead + 1), *range(RESUMED + 1, STEPS + 1)]  # by the first attempt, then by the second
    shelf = Shelf(lived.store)
    epochs = set()
    for step, batch in zip(read_at, lived.read, strict=True):
        decoded = decode_step(shelf, record, step)
        assert np.array_equal([row.ids for row in decoded.rows], batch), f"step {step}"
        epochs |= {row.facts["epoch"] for row in decoded.rows}
        assert not decoded.notes
    assert {1, 2} <= epochs


def test_the_parts_of_a_row_are_its_tokens_and_name_documents_of_the_corpus(lived: Lived) -> None:
    tokens = lived.thing("prepare-data", "tokens")
    tokenizer = Tokenizer.load(tokens.path("tokenizer.json").parent)
    corpus = {document.id: document for document in read_corpus(lived.thing("validate-data", "corpus"))}
    decoded = decode_step(Shelf(lived.store), lived.records["pretrain"], STEPS)
    assert len(decoded.rows) == BATCH
    more_than_one = 0
    for row in decoded.rows:
        assert len(row.ids) == LENGTH + 1
        spelled: list[int] = []
        for part in row.parts:
            assert part.id is not None
            document = corpus[part.id]
            whole = [*tokenizer.encode(document.text), tokenizer.eos]
            assert len(whole) == part.tokens
            spelled += whole[part.first : part.last + 1]
            assert part.text == tokenizer.decode(whole[part.first : part.last + 1])
            assert (part.source, part.parent) == (document.source, document.parent)
        assert tuple(spelled) == row.ids
        more_than_one += len(row.parts) > 1
    assert more_than_one


@pytest.mark.parametrize("step", [0, STEPS + 1])
def test_a_step_that_was_not_made_is_refused_with_how_many_there_are(lived: Lived, step: int) -> None:
    with pytest.raises(InputError, match=f"no step {step}: it made {STEPS}"):
        decode_step(Shelf(lived.store), lived.records["pretrain"], step)


def test_a_stage_that_does_not_train_has_no_steps(lived: Lived) -> None:
    with pytest.raises(InputError, match="prepare-data has no steps"):
        decode_step(Shelf(lived.store), lived.records["prepare-data"], 1)


def test_without_its_corpus_a_batch_still_has_its_text_and_says_why_no_names(lived: Lived, changed: Changed) -> None:
    named = decode_step(Shelf(lived.store), lived.records["pretrain"], 1)
    with changed(lived.path(f"{lived.thing('validate-data', 'corpus').prefix}/manifest.json")):
        decoded = decode_step(Shelf(lived.store), lived.records["pretrain"], 1)
    assert [row.ids for row in decoded.rows] == [row.ids for row in named.rows]
    assert [part.text for row in decoded.rows for part in row.parts] == [part.text for row in named.rows for part in row.parts]
    assert {part.id for row in decoded.rows for part in row.parts} == {None}
    assert "their corpus is gone" in decoded.notes[0]


def test_another_split_than_the_shards_were_written_by_gives_no_wrong_names(lived: Lived, changed: Changed) -> None:
    record = lived.records["prepare-data"]

    def split_otherwise(document: dict[str, dict[str, dict[str, float]]]) -> None:
        document["identity"]["settings"]["test_share"] = 0.3

    with changed(lived.path(f"stages/{record.key}.json"), as_json(split_otherwise)):
        decoded = decode_step(Shelf(lived.store), lived.records["pretrain"], 1)
    assert {part.id for row in decoded.rows for part in row.parts} == {None}
    assert "training documents, the shards hold" in decoded.notes[0]
