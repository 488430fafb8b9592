"""`python -m llm.serving FOLDER`: one model package behind an OpenAI-compatible API."""

import argparse
import asyncio
import ipaddress
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from infra.store.errors import InputError, SlipwayError

KEY_VARIABLE = "SLIPWAY_API_KEY"
INTERRUPTED = 130
_ELSEWHERE = "Choose another --port (0: any free one) or --host."


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message, where="python -m llm.serving", mend="See `python -m llm.serving --help`.")


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments

    def ready(document: dict[str, object]) -> None:
        nonlocal as_json
        if as_json:
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
            sys.stdout.flush()
        as_json = False  # one document: what happens later is told on standard error
        sys.stderr.write(f"slipway: {document['model']} answers on {document['url']}\n")
        sys.stderr.flush()

    try:
        serve(_parser().parse_args(arguments), ready)
    except SlipwayError as error:
        if as_json:
            sys.stdout.write(json.dumps(error.document(), ensure_ascii=False, indent=2) + "\n")
        else:
            sys.stderr.write(f"slipway: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:  # before there was anything to drain
        return INTERRUPTED
    return 0


def serve(options: argparse.Namespace, ready: Callable[[dict[str, object]], None]) -> None:
    """Serves until a signal. Everything that can be refused is refused before the model is loaded, which takes its time.

    ready: hears once where the server is and what it serves.
    """
    folder: Path = options.folder
    if not folder.expanduser().is_dir():
        raise InputError("no such folder", where=str(folder), mend="Name a model package or a Hugging Face folder.")
    api_key = _api_key(options.api_key_file)
    with _listen(options.host, options.port) as listener:
        if api_key is None and not _is_loopback(listener):
            raise InputError(
                "a server that others can reach needs an API key",
                where=f"--host {options.host}",
                mend=f"Name a file that holds it with --api-key-file, or set {KEY_VARIABLE}; or serve on 127.0.0.1.",
            )
        # torch and the web framework take seconds to load: a wrong argument is refused without them
        from llm.models.decoding import Decoder
        from llm.serving import api
        from llm.serving.engine import Engine
        from llm.serving.package import load_package
        from llm.serving.service import Service

        package = load_package(folder, options.name, options.precision)
        if isinstance(package.model, Decoder) and package.model.notice:
            sys.stderr.write(f"slipway: decoding goes without its C++ step: {package.model.notice}\n")
        service = Service(package, Engine(slots=options.slots, queue=options.queue))
        document = {"url": _url(listener, options.host), **service.package.document()}
        try:
            asyncio.run(api.serve(service, listener, api_key=api_key, grace=options.grace, ready=lambda: ready(document)))
        except OSError as error:  # somebody else took the port while the model was loaded
            raise _cannot_listen(error, options.host, options.port) from None


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m llm.serving", description="Serves a model package behind an OpenAI-compatible API.")
    parser.add_argument("folder", type=Path, help="a model package, or a Hugging Face folder")
    parser.add_argument("--name", default="", help="what clients call the model (the folder's name)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on; beyond loopback an API key is needed")
    parser.add_argument("--port", type=_whole(0, 65535), default=8000, help="the port, 0 for any free one (%(default)s)")
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "int8"),
        default="auto",
        help="of the weights; auto: fp32, exactly as evaluated, or bf16 where they are stored so (%(default)s)",
    )
    parser.add_argument("--slots", type=_whole(1, 256), default=4, help="requests that advance in turn (%(default)s)")
    parser.add_argument("--queue", type=_whole(0, 100_000), default=64, help="requests that may wait beyond those (%(default)s)")
    parser.add_argument("--grace", type=_whole(0, 86_400), default=30, help="seconds that a drain may take (%(default)s)")
    parser.add_argument("--api-key-file", type=Path, help=f"a file with the API key; {KEY_VARIABLE} gives it too")
    parser.add_argument("--json", action="store_true", help="print one JSON document when the server is ready")
    return parser


def _whole(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least:,} to {most:,}")
        return int(text)

    return number


def _api_key(file: Path | None) -> str | None:
    """The key of the file, else of the variable, else none. What it is stands in no message."""
    where, key = KEY_VARIABLE, os.environ.get(KEY_VARIABLE, "")
    if file is not None:
        where = str(file)
        try:
            key = file.expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            what = "not text" if isinstance(error, UnicodeDecodeError) else (error.strerror or "").lower()
            raise InputError(f"the API key cannot be read ({what})", where=where, mend="Name a text file with the key.") from None
    elif not key:
        return None
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise InputError("not an API key: it must be one word of ASCII letters", where=where, mend="Put the key alone there.")
    return key


def _listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address, not yet listening: who knocks before the model is there is refused at once."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # With the protocol named, asyncio switches Nagle's algorithm off: a token must not wait for the next one.
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
    except OSError as error:
        raise InputError(f"no address to listen on ({error.strerror})", where=f"--host {host}", mend=_ELSEWHERE) from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _cannot_listen(error, host, port) from None
    return listener


def _cannot_listen(error: OSError, host: str, port: int) -> InputError:
    reason = os.strerror(error.errno or 0).lower()
    return InputError(f"cannot listen there ({reason})", where=f"{host}:{port}", mend=_ELSEWHERE)


def _is_loopback(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def _url(listener: socket.socket, host: str) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


if __name__ == "__main__":
    sys.exit(main())
