"""Runs a program in a network of its own in which only 127.0.0.1:PORT exists, forwarded to one server of this host.

Chromium drops every connection (ERR_NETWORK_CHANGED) whenever a container of another test comes or goes. There it sees nothing of that.

python -m tests.support.apart SOCKET PORT PROGRAM [ARGUMENT ...]     (as root, under `unshare --net`)
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_SET_FLAGS, _UP, _DIE_WITH_PARENT = 0x8914, 0x1, 1


@contextmanager
def door(path: Path, port: int) -> Iterator[None]:
    """A socket file that leads to 127.0.0.1:`port` of this host, for the block."""
    loop = asyncio.new_event_loop()
    serving = asyncio.start_unix_server(_to(lambda: asyncio.open_connection("127.0.0.1", port)), str(path))
    threading.Thread(target=loop.run_forever, daemon=True).start()
    asyncio.run_coroutine_threadsafe(serving, loop).result(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)


def main(path: str, port: str, *program: str) -> None:
    """Becomes the program; a child of it forwards."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))
    listening = socket.create_server(("127.0.0.1", int(port)))
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        os.closerange(3, listening.fileno())  # what the browser speaks to its driver through is not ours to hold
        asyncio.run(_forward(path, listening))
    os.execv(program[0], program)


async def _forward(path: str, listening: socket.socket) -> None:
    server = await asyncio.start_server(_to(lambda: asyncio.open_unix_connection(path)), sock=listening)
    await server.serve_forever()


def _to(connect: Callable[[], Awaitable[Streams]]) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other_writer = await connect()
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, other_writer), _pump(other_reader, writer))

    return join


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # one side went; the other is told by the end of what it reads
    finally:
        writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
