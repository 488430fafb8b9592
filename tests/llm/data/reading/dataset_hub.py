"""A hub of our own on the loopback address: the few endpoints that streaming a data set asks for."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_API = "/api/datasets/owner/name"


@contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[str]:
    """Serves the files as `owner/name`, whose branches and tags all mean `COMMIT`; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, *_: Any) -> None: ...

        def _answer(self) -> None:
            path = urlsplit(self.path).path
            if path.startswith(f"{_API}/tree/{COMMIT}"):
                self._send(200, json.dumps(_entries(files, path.removeprefix(f"{_API}/tree/{COMMIT}").strip("/"))).encode())
            elif path == _API or path.startswith(f"{_API}/revision/"):
                siblings = [{"rfilename": name} for name in files]
                info = {"id": "owner/name", "sha": COMMIT, "siblings": siblings, "tags": [], "cardData": {"license": "mit"}}
                self._send(200, json.dumps(info).encode())
            elif (name := path.removeprefix(f"/datasets/owner/name/resolve/{COMMIT}/")) in files:
                self._file(files[name])
            else:
                self._send(404, b"{}", {"X-Error-Code": "EntryNotFound" if "/resolve/" in path else "RepoNotFound"})

        def _file(self, content: bytes) -> None:
            headers = {"ETag": '"0"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            if not (asked := self.headers.get("Range", "")):
                self._send(200, content, headers)
                return
            start, _, end = asked.removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(end or len(content)), len(content) - 1)
            self._send(206, content[first : last + 1], headers | {"Content-Range": f"bytes {first}-{last}/{len(content)}"})

        def _send(self, code: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(code)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _entries(files: Mapping[str, bytes], folder: str) -> list[dict[str, Any]]:
    """What lies in a folder, folders among it."""
    found: dict[str, dict[str, Any]] = {}
    for name, content in files.items():
        if name.startswith(f"{folder}/" if folder else ""):
            inner = name[len(folder) + 1 if folder else 0 :]
            path = name[: len(name) - len(inner)] + inner.partition("/")[0]
            kind = "directory" if "/" in inner else "file"
            found[path] = {"type": kind, "path": path, "oid": "0" * 40, "size": len(content) if kind == "file" else 0}
    return list(found.values())
