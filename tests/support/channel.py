"""A chat channel that only listens: a webhook on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Channel:
    """url: host and port. It keeps what it is sent; `refusing` times it answers with an error first."""

    url: str
    messages: list[tuple[str, str]] = field(default_factory=list)  # path, body
    refusing: int = 0

    def sent_to(self, path: str) -> list[str]:
        """Bodies that `path` was sent and took."""
        return [body for at, body in self.messages if at == path]


@contextmanager
def listening() -> Iterator[Channel]:
    """A channel for the block."""
    channel = Channel("")

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            refused, channel.refusing = channel.refusing > 0, max(0, channel.refusing - 1)
            if not refused:
                channel.messages.append((self.path, body))
            self.send_response(503 if refused else 200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    channel.url = f"127.0.0.1:{server.server_port}"
    try:
        yield channel
    finally:
        server.shutdown()
        server.server_close()
