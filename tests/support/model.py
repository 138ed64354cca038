"""A stand-in for Ollama's model: says what a test tells it to, waits where it is told to wait, dies where it is told to die."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DIES = object()  # the connection is cut
STOPS = object()  # the answer ends as if it were whole, without its last piece
COMPLAINS = object()  # a line that says that something went wrong
Act = str | threading.Event | object


@dataclass
class Model:
    """What the next answers are. `asked`: the bodies that came."""

    port: int = 0
    script: Sequence[Act] = ("Hello ", "there.")
    status: int = 200
    tags: bytes = json.dumps({"models": [{"name": "gemma3:12b", "details": {"family": "test"}}]}).encode()
    asked: list[Any] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Answers from now on, on the same port as before."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Nobody listens any more."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def running_model() -> Iterator[Model]:
    """Stopped after the block."""
    model = Model()
    model.start()
    try:
        yield model
    finally:
        model.stop()


def _handler(model: Model) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, model.tags)

        def do_POST(self) -> None:
            model.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if model.status != 200:
                self._answer(model.status, b'{"error": "no such model"}')
                return
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._act(model.script)

        def _act(self, script: Sequence[Act]) -> None:
            for act in script:
                if isinstance(act, threading.Event):
                    act.wait(30)
                elif isinstance(act, str):
                    self._line({"message": {"content": act}, "done": False})
                elif act is COMPLAINS:
                    self._line({"error": "out of memory"})
                elif act is DIES:
                    return
                elif act is STOPS:
                    self.wfile.write(b"0\r\n\r\n")
                    return
            self._line({"message": {"content": ""}, "done": True})
            self.wfile.write(b"0\r\n\r\n")

        def _line(self, piece: object) -> None:
            line = json.dumps(piece).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle_one_request(self) -> None:
            with suppress(OSError):  # whoever asked went away
                super().handle_one_request()
            self.close_connection = True  # so that nothing is left open when the model is stopped

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    Handler.protocol_version = "HTTP/1.1"
    return Handler
