"""`slipway deploy`, `slipway rollback`, `slipway targets list`: what runs where."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from flows.cli.output import duration, emit, note, size, table
from infra.settings import Settings
from infra.targets import fleet
from infra.targets.fleet import TargetState
from infra.targets.local import Target
from infra.targets.naming import checked
from infra.targets.plan import Step, steps
from infra.targets.record import Release
from infra.targets.rollout import Rolled

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Reason = Annotated[str, typer.Option(metavar="WHY", help="Why, in a sentence; it stands in the ledger.")]
Wait = Annotated[float, typer.Option(help="Seconds to wait for another change of the target, before giving up (exit 5).")]
Plan = Annotated[bool, typer.Option("--plan", help="Say step by step what would be done; start nothing.")]


def deploy(
    model: Annotated[str, typer.Argument(help="models:/NAME@champion, or models:/NAME/VERSION of an approved version.")],
    to: Annotated[str, typer.Option(metavar="TARGET", help="`local`, or `local-NAME` for a further one.")] = "local",
    plan: Plan = False,
    without_golden: Annotated[
        bool, typer.Option("--without-golden", help="Also a version whose evaluation kept no golden answers.")
    ] = False,
    reason: Reason = "",
    wait: Wait = 0.0,
    as_json: AsJson = False,
) -> None:
    """Put an approved version on a target. The old one serves until the new one answers as it should; no request is lost."""
    # Registry, Prefect's environment and recipes: `rollback` and `targets list` do without them, and answer the faster
    from flows.catalog import FLOWS
    from flows.cli.run import execute
    from flows.launch import plan_flow
    from flows.pipeline.session import SESSION, Session
    from flows.recipes.recipes import DeployRecipe
    from flows.recipes.sections import RolloutConfig
    from infra.services import with_services

    entry = FLOWS["deploy"]
    rollout = RolloutConfig(require_golden=not without_golden)
    recipe = DeployRecipe(model=model, target=checked(to), reason=reason, rollout=rollout)
    session = Session.open(with_services(Settings.load()), wait=wait)
    if plan:
        from flows.deployment import approved, release_of

        token = SESSION.set(session)
        try:
            release = release_of(session.store, approved(model).version, require_golden=not without_golden)
        finally:
            SESSION.reset(token)
        _show_plan("deploy", Target(session.settings, to), release, as_json)
        return
    (walked,) = execute(entry, recipe, session, plan_flow(entry, recipe, session))
    reused = walked.state == "reused"
    document = {
        "flow": "deploy",
        **walked.result,
        "state": walked.state,
        **({"changed": False, "action": "none"} if reused else {}),
    }
    emit(document, as_json, lambda: _rolled_text(document))


def rollback(
    target: Annotated[str, typer.Argument(help="`local`, or `local-NAME`.")] = "local",
    plan: Plan = False,
    reason: Reason = "",
    wait: Wait = 0.0,
    as_json: AsJson = False,
) -> None:
    """Put the version before back on a target. Needs neither Prefect nor MLflow: what it goes back to, the target knows."""
    settings = Settings.load()
    on = Target(settings, target, observe=lambda step: note(f"  {step}"))
    if plan:
        _show_plan("rollback", on, on.previous(on.record()), as_json)
        return
    rolled: Rolled = on.rollback(who=settings.user, why=reason.strip() or "no reason given", wait=wait)
    emit(rolled.document(), as_json, lambda: _rolled_text(rolled.document()))


def list_targets(as_json: AsJson = False) -> None:
    """The targets of this home, what each serves, and since when."""
    states = fleet.states(Settings.load())
    text = targets_text(states) if states else "There is no target yet. `slipway deploy MODEL --to local` makes one."
    emit({"targets": [each.document() for each in states]}, as_json, text)


def targets_text(states: Sequence[TargetState]) -> str:
    """A line a target; below, what is amiss, and the mend."""
    head = ("target", "state", "model", "package", "url", "since", "memory")
    rows = [
        (
            each.name,
            each.state,
            each.model or "",
            (each.package or "")[:12],
            each.url or "",
            (each.since or "")[:16].replace("T", " "),
            "" if each.memory is None else size(each.memory),
        )
        for each in states
    ]
    notes = [f"{each.name}: {each.why}" for each in states if each.why]
    notes += [
        f"{each.name}: {each.unfinished} is under way, or was interrupted: the next command ends it"
        for each in states
        if each.unfinished
    ]
    notes += [
        f"{each.name}: the last change failed: {each.last['what']}"
        for each in states
        if each.last and each.last["event"] == "failed"
    ]
    notes += [f"{each.name}: `slipway deploy {each.model} --to {each.name}` mends it" for each in states if each.state == "dead"]
    return "\n".join([table(head, rows), *notes])


def _show_plan(action: str, target: Target, release: Release, as_json: bool) -> None:
    found = steps(target, action, release)
    document: dict[str, Any] = {
        "action": action,
        "target": target.name,
        **release.brief(),
        "steps": [{"what": step.what, "commands": list(step.commands)} for step in found],
    }
    emit(document, as_json, lambda: _plan_text(found))


def _plan_text(found: Sequence[Step]) -> str:
    lines = []
    for number, step in enumerate(found, start=1):
        lines.append(f"{number}. {step.what}")
        lines += [f"     {command}" for command in step.commands]
    return "\n".join(lines)


def _rolled_text(result: dict[str, Any]) -> str:
    if not result["changed"]:
        return f"{result['model']} serves on {result['url']} already."
    parts = ", ".join(f"{part} {duration(spent)}" for part, spent in result["seconds"].items())
    cut = f"\n{result['cut']} requests were broken off: they took longer than the drain's limit." if result["cut"] else ""
    return f"{result['model']} answers on {result['url']} ({parts}).{cut}"
