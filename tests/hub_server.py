"""A hub of our own on the loopback address: the few endpoints that fetching a model asks for, and what it was asked."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Serves the files of `folder` as `owner/model`. broken: bytes after which a GET of weights from their start is cut."""

    folder: Path
    token: str = ""
    gated: bool = False
    broken: int = 0
    url: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Range of every request."""


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, *_: Any) -> None: ...

        def _answer(self) -> None:
            hub.asked.append((self.command, self.path, self.headers.get("Range", "")))
            path = self.path.partition("?")[0]
            if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                self._fail(401, "GatedRepo" if hub.gated else "RepoNotFound")
            elif path.startswith("/api/models/owner/model"):
                revision = path.partition("/revision/")[2] or "main"
                self._info() if revision in ("main", COMMIT) else self._fail(404, "RevisionNotFound")
            elif path.startswith(f"/owner/model/resolve/{COMMIT}/"):
                self._file(hub.folder / path.rpartition("/")[2])
            else:
                self._fail(404, "RepoNotFound")

        def _info(self) -> None:
            siblings = []
            for each in sorted(hub.folder.iterdir()):
                sha256 = hashlib.sha256(each.read_bytes()).hexdigest()
                lfs = {"lfs": {"sha256": sha256, "size": each.stat().st_size, "pointerSize": 134}} if _large(each) else {}
                siblings.append({"rfilename": each.name, "size": each.stat().st_size, "blobId": "0" * 40, **lfs})
            told = {"_id": "1", "id": "owner/model", "modelId": "owner/model", "sha": COMMIT, "siblings": siblings, "tags": []}
            self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

        def _file(self, path: Path) -> None:
            if not path.is_file():
                self._fail(404, "EntryNotFound")
                return
            data = path.read_bytes()
            headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            if _large(path):
                headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(data))}
            ranged = self.headers.get("Range", "")
            start = int(ranged.removeprefix("bytes=").partition("-")[0]) if ranged else 0
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            if hub.broken and self.command == "GET" and _large(path) and not start:
                self._send(200, data, headers, only=hub.broken)
                self.close_connection = True
                return
            self._send(206 if start else 200, data[start:], headers)

        def _send(self, status: int, data: bytes, headers: dict[str, str], only: int | None = None) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[:only])

        def _fail(self, status: int, code: str) -> None:
            self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _large(path: Path) -> bool:
    return path.suffix == ".safetensors"
