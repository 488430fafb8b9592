"""Stands in for the model server, in milliseconds: its package's `behaviour.json` says what it does. Drains on SIGTERM."""

import argparse
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name")
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    package = json.loads((options.folder / "behaviour.json").read_text())
    if package.get("dies"):
        sys.exit("the weights are no weights")
    busy, draining, lock = [0], threading.Event(), threading.Lock()

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            if self.path == "/health":
                self.reply(503 if draining.is_set() or package.get("sick") else 200, {})
            else:
                self.reply(200, {"model": options.name, "package": package["claims"]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                refused = draining.is_set()
                busy[0] += not refused
            if refused:
                self.reply(503, {"error": "draining"})
                return
            try:
                self.generate(body)
            finally:
                with lock:
                    busy[0] -= 1

        def generate(self, body: dict[str, Any]) -> None:
            if self.path == "/v1/classifications":
                self.reply(200, {"data": [{"label": "good", "probability": package["probability"]}]})
            elif self.path == "/v1/chat/completions":
                self.reply(200, {"choices": [{"message": {"content": package["answer"]}}]})
            elif not body.get("stream"):
                self.reply(200, {"choices": [{"text": package["answer"]}]})
            else:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for _ in range(body["max_tokens"]):
                    self.piece(json.dumps({"choices": [{"text": package["answer"]}]}))
                    time.sleep(body["pause"])
                self.piece("[DONE]")
                self.wfile.write(b"0\r\n\r\n")

        def piece(self, text: str) -> None:
            data = f"data: {text}\n\n".encode()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

        def reply(self, status: int, document: dict[str, Any]) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", options.port), Answer)
    server.request_queue_size = 128

    def drain(*_: Any) -> None:
        draining.set()
        threading.Thread(target=end).start()

    def end() -> None:
        while busy[0]:
            time.sleep(0.01)
        os._exit(0)

    signal.signal(signal.SIGTERM, drain)
    server.serve_forever()


if __name__ == "__main__":
    main()
