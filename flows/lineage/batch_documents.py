"""A batch of pretraining: read again from the token shards, and named again from the corpus."""

from flows.lineage.batch import Batch, BatchRow, Part, needed, training_of
from flows.lineage.shelf import Shelf
from flows.pipeline.records import Record
from infra.store.errors import DamagedError
from infra.store.manifest import Thing
from llm.data.batch_documents import Piece, batch_rows, training_rows
from llm.data.batches import BatchOrder
from llm.data.corpus import read_rows
from llm.data.documents import Document
from llm.data.tokens import TokenStream
from llm.text.files import TOKENIZER_FILES
from llm.text.special import document as document_ids
from llm.text.tokenizer import Tokenizer
from llm.training.config import skip_list
from llm.training.guard import left_of


def of_documents(shelf: Shelf, record: Record, step: int, steps: int) -> Batch:
    """Each row with the documents it overlaps; every one is encoded again, which proves its name."""
    training = training_of(record)
    tokens = needed(shelf, record, "tokens")
    stream, tokenizer = TokenStream(tokens, "train"), Tokenizer.load(tokens.folder(*TOKENIZER_FILES))
    skipped = skip_list(training.get("skip_steps", ()), training.get("skip_tokens", ()))
    order = BatchOrder(len(stream), training["sequence_length"], training["batch_size"], training["seed"], **skipped)
    order = left_of(order, record.result.get("rollbacks", ()))
    rows = batch_rows(stream, order, step - 1)
    wanted = {piece.document for row in rows for piece in row.pieces}
    names, notes = _documents(shelf, tokens, wanted, len(stream.document_starts()))
    for number, document in names.items():
        whole = document_ids(tokenizer, tokenizer.encode(document.text))
        if whole != stream.document(number).tolist():
            notes.append(f"{document.id}: its text in the corpus does not give the tokens that were read")
    return Batch(
        record.run,
        record.stage,
        step,
        steps,
        tuple(
            BatchRow(
                tuple(row.ids.tolist()),
                tuple(_part(piece, names.get(piece.document), tokenizer) for piece in row.pieces),
                {"start": row.start, "epoch": row.epoch + 1},
            )
            for row in rows
        ),
        tuple(notes),
    )


def _part(piece: Piece, document: Document | None, tokenizer: Tokenizer) -> Part:
    return Part(
        id=document.id if document else None,
        parent=document.parent if document else None,
        source=document.source if document else None,
        number=piece.document,
        first=piece.first,
        last=piece.last,
        tokens=piece.tokens,
        text=tokenizer.decode(piece.ids.tolist()),
    )


def _documents(shelf: Shelf, tokens: Thing, wanted: set[int], count: int) -> tuple[dict[int, Document], list[str]]:
    """The corpus's documents by their number among the training documents, and why there are none where that is so."""
    corpus, record = shelf.thing(shelf.holding(str(tokens.facts.get("corpus")))), shelf.maker(tokens.prefix)
    if isinstance(corpus, str):
        return {}, [f"the documents have no names: their corpus is {corpus}"]
    if record is None:
        return {}, ["the documents have no names: the record that says how the corpus was split is gone"]
    shares = record.identity["settings"]
    try:
        places = training_rows(
            corpus,
            tokens.facts.get("mixture") or {},
            validation_share=shares["validation_share"],
            test_share=shares["test_share"],
        ).tolist()
        if len(places) != count:
            return {}, [f"the documents have no names: the corpus gives {len(places)} training documents, the shards hold {count}"]
        found = read_rows(corpus, [places[number] for number in wanted])
    except DamagedError as error:
        return {}, [f"the documents have no names: {error.where}: {error.what}"]
    return {number: found[places[number]] for number in wanted}, []
