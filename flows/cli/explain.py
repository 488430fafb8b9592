"""`slipway explain`: where a thing came from, checked again on demand, and what a training run read at a step."""

from typing import Annotated, Any

import typer

from flows.cli import explain_text as text
from flows.cli.output import emit
from flows.lineage.asking import Asker
from flows.lineage.verify import verify
from infra.ledger import Ledger
from infra.services import with_services
from infra.settings import Settings
from infra.store.errors import InputError, RefusedError


def explain(
    thing: Annotated[
        str,
        typer.Argument(
            help="A served URL, models:/NAME/VERSION, models:/NAME@ALIAS, a package's folder, a run's id, a stage record's key,"
            " or a dataset's name, name/version or prefix."
        ),
    ],
    check: Annotated[bool, typer.Option("--verify", help="Read and hash every file again, and compare every hash.")] = False,
    step: Annotated[
        int | None, typer.Option(metavar="N", help="Instead of the chain: what the training run read at step N (from 1).")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="With --step: the whole text.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """One chain from a server, model, run or dataset back to its sources. Exit 3 when --verify finds what does not hold."""
    if check and step is not None:
        raise InputError("--verify and --step are two questions", where="slipway explain", mend="Ask them one after the other.")
    settings = with_services(Settings.load())
    asker = Asker(settings)
    graph = asker.explain(thing)
    if step is not None:
        from flows.lineage.decode import decode_step  # pyarrow and tokenizers, half a second, which a chain does not need

        batch = decode_step(asker.tracer.shelf, asker.training(graph), step)
        emit(batch.document(), as_json, lambda: text.batch(batch, full=full))
        return 0
    document: dict[str, Any] = {"thing": thing, **graph.document()}
    if not check:
        emit(document, as_json, lambda: text.chain(graph))
        return 0
    checked = verify(graph, asker.store, Ledger.of(settings, asker.store))
    findings = [finding for each in checked for finding in each.findings]
    document["verification"] = {
        "holds": not findings,
        "files": sum(each.files for each in checked),
        "bytes": sum(each.bytes for each in checked),
        "checked": [each.document() for each in checked],
    }
    if findings:
        mend = "Put what was changed back from a copy of the store; nothing here repairs it."
        document |= RefusedError(f"{len(findings)} findings: {findings[0]}", where=thing, mend=mend).document()
    emit(document, as_json, lambda: f"{text.chain(graph)}\n\n{text.verification(checked)}")
    return RefusedError.exit_code if findings else 0
