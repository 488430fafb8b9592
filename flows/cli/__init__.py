"""The command line: a table of commands, each loaded only when it is called, and one way to end."""

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from infra.store.errors import SlipwayError

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("flows.cli.demo:demo", "The whole way from text to a registered model, in minutes."),
    "adapt": ("flows.cli.adapt:adapt", "A base model and rows of yours in; a finetuned model that serves out."),
    "run": ("flows.cli.run:run", "Run a flow here and now; --plan shows what would run and why, and starts nothing."),
    "plan": ("flows.cli.plan:plan", "What a training costs: parameters, FLOPs, tokens, memory, time."),
    "data validate": ("flows.cli.data_validate:validate", "Judge data before anything is trained on it (exit 3: refused)."),
    "data show": ("flows.cli.data:show", "What a dataset holds and where it came from."),
    "data export": ("flows.cli.data_export:export", "Write a dataset for other tools: Parquet, or Arrow for datasets."),
    "models list": ("flows.cli.models:list_models", "The registered models."),
    "models show": ("flows.cli.models:show", "One version with its card, or a model folder."),
    "models import": (
        "flows.cli.models_import:import_",
        "Bring a model in: a Hugging Face folder, a litgpt checkpoint, hf://OWNER/NAME.",
    ),
    "models export": ("flows.cli.models_export:export", "Write a model for other tools: a Hugging Face folder, GGUF, litgpt."),
    "review list": ("flows.cli.review:list_candidates", "The candidates, their gates, and the champions."),
    "review show": ("flows.cli.review:show", "One version: its card, and what changed against the champion."),
    "review approve": ("flows.cli.review:approve", "Make a version the champion; needs a reason."),
    "review reject": ("flows.cli.review:reject", "Decide against a version; needs a reason, deletes nothing."),
    "review request-changes": ("flows.cli.review:request_changes", "Ask for changes; the version stays a candidate."),
    "ledger show": ("flows.cli.ledger:show", "Every decision: when, who, what, why."),
    "ledger verify": ("flows.cli.ledger:verify", "Whether the ledger is as it was written (exit 3 if not)."),
    "serve": ("flows.cli.serve:serve", "Serve a model on this machine, behind OpenAI's interface."),
    "chat": ("flows.cli.chat:chat", "Talk to a model: a registered one, a folder, or a server's."),
    "deploy": ("flows.cli.targets:deploy", "Put an approved version on a target, without a request lost."),
    "rollback": ("flows.cli.targets:rollback", "Put the version before back on a target, in seconds."),
    "targets list": ("flows.cli.targets:list_targets", "The targets, what each serves, and since when."),
    "explain": ("flows.cli.explain:explain", "Where a server, model, run or dataset came from; --verify checks every hash again."),
    "up": ("flows.cli.services:up", "Start the local services: Prefect, MLflow, and a worker that runs flows from a form."),
    "down": ("flows.cli.services:down", "Stop the local services, whatever state they are in."),
    "status": ("flows.cli.services:status", "What runs, and where things are kept."),
    "doctor": ("flows.cli.doctor:doctor", "Check this machine and the services; every finding names its mend."),
    "store du": ("flows.cli.store:du", "What the store holds, by kind."),
    "store gc": ("flows.cli.store:gc", "What nothing refers to any more; --delete frees it."),
}
GROUPS: Final = {
    "data": "Datasets: what they hold.",
    "models": "The registry and the packages.",
    "review": "The reviewer's door: candidates, approval, rejection.",
    "ledger": "Who decided what, when and why.",
    "targets": "Where models are deployed.",
    "store": "The store: what it holds.",
}
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits: 0 done, 1 failed, 2 bad input, 3 refused, 4 awaiting review, 5 lease held, 130 interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    os.environ["DO_NOT_TRACK"] = "1"  # what Prefect, the hub's library and others heed
    code = _run(arguments)
    sys.stdout.flush()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    from typer.exceptions import TyperException  # 80 ms: `slipway` should answer at once even where it only fails

    as_json = "--json" in arguments
    try:
        _check_rooms()
        result = _application(arguments)(args=arguments, prog_name="slipway", standalone_mode=False)
    except SlipwayError as error:
        return _fail(error, as_json)
    except TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(error.format_message() + "\n")
            return error.exit_code
        return _fail(_usage(error, arguments), as_json)
    except KeyboardInterrupt:
        return _interrupted(as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        return _fail(_unexpected(), as_json)
    if result == INTERRUPTED:  # what Typer makes of a Ctrl-C
        return _interrupted(as_json)
    return result if isinstance(result, int) else 0


def _application(arguments: list[str]) -> Any:
    """A Typer application in which only the command that is called is real; the others are names with a line of help."""
    import typer

    options: dict[str, Any] = {
        "rich_markup_mode": None,
        "pretty_exceptions_enable": False,
        "add_completion": False,
        "no_args_is_help": True,
    }
    root = typer.Typer(help="Slipway takes a language model from raw text to your own GPU servers.", **options)
    groups = {name: typer.Typer(help=text, **options) for name, text in GROUPS.items()}
    for words, (entry, text) in COMMANDS.items():
        group, _, name = words.rpartition(" ")
        called = arguments[: len(words.split())] == words.split()
        (groups[group] if group else root).command(name, help=text)(_load(entry) if called else _placeholder())
    for name, group_app in groups.items():
        root.add_typer(group_app, name=name)
    return root


def _placeholder() -> Callable[[], None]:
    def command() -> None: ...

    return command


def _load(entry: str) -> Callable[..., Any]:
    module, _, name = entry.partition(":")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return loaded


def _check_rooms() -> None:
    """Another `llm` or `infra` exists in the world; ours must be the one that is imported."""
    import infra
    import llm

    ours = Path(__file__).parents[2]
    for room in (infra, llm):
        if Path(room.__file__ or "").parents[1] != ours:
            raise SlipwayError(
                f"another package named {room.__name__} is in the way",
                where=str(room.__file__),
                mend="Install Slipway into an environment of its own (`make install`).",
            )


def _fail(error: SlipwayError, as_json: bool) -> int:
    from flows.cli.output import print_error

    print_error(error, as_json)
    return error.exit_code


def _usage(error: Any, arguments: list[str]) -> SlipwayError:
    from infra.store.errors import InputError

    command = next((words for words in COMMANDS if arguments[: len(words.split())] == words.split()), "")
    message = error.format_message().rstrip(".")
    return InputError(
        message[0].lower() + message[1:], where=f"slipway {command}".strip(), mend=f"See `{f'slipway {command}'.strip()} --help`."
    )


def _interrupted(as_json: bool) -> int:
    from flows.cli.output import print_error

    error = SlipwayError("interrupted; nothing is lost", mend="The same command goes on where this one stopped.")
    print_error(error, as_json, code="interrupted")
    return INTERRUPTED


def _unexpected() -> SlipwayError:
    from flows.cli.output import keep_traceback

    path = keep_traceback(traceback.format_exc())
    last = traceback.format_exception_only(*sys.exc_info()[:2])[-1].strip()
    return SlipwayError(
        f"an error in Slipway itself: {last}", mend=f"The traceback is in {path}; `slipway doctor` may find the reason."
    )
