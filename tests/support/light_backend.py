"""Takes the place of the backend's own `__main__.py` in releases whose application is not what a test is about: the same paths, the same way
of stopping, and nothing that takes a second to import.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal

ANSWERED = 0
SERVING: set[asyncio.Transport] = set()


def answer(path: str) -> bytes:
    """What the application says there."""
    global ANSWERED
    ANSWERED += 1
    if path == "/metrics":
        return f'http_requests_total{{method="GET",route="any",status="200"}} {ANSWERED}\n'.encode()
    if path == "/version":
        return json.dumps({"release": os.environ["RELEASE_SHA"], "revision": None}).encode()
    return b'{"status":"ok"}'


class Connection(asyncio.Protocol):
    """Answers each GET at once, and lives until either side ends it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.received = transport, b""
        SERVING.add(transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            body = answer(head.split(b" ", 2)[1].decode())
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def connection_lost(self, _error: Exception | None) -> None:
        SERVING.discard(self.transport)


async def serve() -> None:
    """Until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await loop.create_server(Connection, options.host, options.port)
    await stopped.wait()
    server.close()
    for transport in list(SERVING):
        transport.close()  # what was written goes out first


if __name__ == "__main__":
    asyncio.run(serve())
