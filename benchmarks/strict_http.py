"""HTTP as a strict client speaks it: whatever is not a whole answer is told as an error, and nothing is ever asked twice.

Only a connection that was closed before a request was sent on it is opened again: that is what HTTP allows.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

_CONNECT_S = 10.0
_READ = 65536


class BrokenError(Exception):
    """No whole answer came. Its words say why."""


@dataclass(frozen=True)
class Question:
    """A request. body_seconds: how long the body takes to be sent, its second half at the end of that time. answer_seconds: how long the
    answer is meant to take."""

    method: str
    path: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    body_seconds: float = 0.0
    answer_seconds: float = 0.0


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes


class Http1:
    """One connection by plain HTTP/1.1, for one request at a time. keep: used again for the next one."""

    def __init__(self, host: str, port: int, *, keep: bool = True) -> None:
        self._host, self._port, self._keep = host, port, keep
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, question: Question) -> Answer:
        """Raises BrokenError."""
        reader, writer = await self._connected()
        try:
            await self._send(writer, question)
            answer, lasts = await _read_answer(reader)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            self.close()
            raise BrokenError(_words(error)) from error
        except BaseException:
            self.close()  # what it was about to say must not be taken for the next answer
            raise
        if not (self._keep and lasts):
            self.close()
        return answer

    def close(self) -> None:
        """The next request opens another one."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is not None and (self._reader.at_eof() or self._reader.exception()):
            self.close()
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await _connection(self._host, self._port, None)
        return self._reader, self._writer

    async def _send(self, writer: asyncio.StreamWriter, question: Question) -> None:
        lines = [f"{question.method} {question.path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in question.headers]
        lines += [f"Content-Length: {len(question.body)}"] if question.body else []
        lines += [] if self._keep else ["Connection: close"]
        half = len(question.body) // 2 if question.body_seconds else len(question.body)
        writer.write("\r\n".join([*lines, "", ""]).encode() + question.body[:half])
        if question.body_seconds:
            await asyncio.sleep(question.body_seconds)
            writer.write(question.body[half:])
        await writer.drain()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[Answer, bool]:
    """The answer, and whether the connection may be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    if headers.get("transfer-encoding") == "chunked":
        body = await _read_chunks(reader)
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        raise BrokenError(f"status {status} with a body of unknown length")
    return Answer(status, body), headers.get("connection", "").lower() != "close"


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise BrokenError("a chunk that does not end")
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return bytes(body)


class Http2:
    """One connection by HTTP/2 over TLS, for any number of requests at a time. Certificates are not checked: the server is our own."""

    def __init__(self, host: str, port: int, name: str = "localhost") -> None:
        self._host, self._port, self._name = host, port, name
        self._link: _Link | None = None
        self._opening = asyncio.Lock()

    async def ask(self, question: Question) -> Answer:
        """Raises BrokenError."""
        async with self._opening:
            if self._link is None or not self._link.usable:
                self._link = await _Link.opened(self._host, self._port, self._name)
        return await self._link.ask(question, f"{self._name}:{self._port}")

    def close(self) -> None:
        """Requests on their way are broken off."""
        if self._link is not None:
            self._link.end(BrokenError("closed by us"))


@dataclass
class _Stream:
    """An answer that is on its way."""

    done: asyncio.Future[Answer]
    status: int = 0
    body: bytearray = field(default_factory=bytearray)

    def fail(self, error: BrokenError) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class _Link:
    """A connection that speaks HTTP/2 from its first byte to its last."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        self._streams: dict[int, _Stream] = {}
        self.usable = True
        self._state.initiate_connection()
        self._flush()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def opened(cls, host: str, port: int, name: str) -> Self:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        reader, writer = await _connection(host, port, context, name)
        if writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            writer.close()
            raise BrokenError("the server speaks no HTTP/2")
        return cls(reader, writer)

    async def ask(self, question: Question, authority: str) -> Answer:
        number = self._state.get_next_available_stream_id()
        pseudo = ((":method", question.method), (":scheme", "https"), (":authority", authority), (":path", question.path))
        stream = self._streams[number] = _Stream(asyncio.get_running_loop().create_future())
        try:
            self._state.send_headers(number, [*pseudo, *question.headers], end_stream=not question.body)
            if question.body:
                self._state.send_data(number, question.body, end_stream=True)
            self._flush()
            return await stream.done
        except (h2.exceptions.H2Error, OSError) as error:
            raise BrokenError(_words(error)) from error
        finally:
            del self._streams[number]

    def end(self, why: BrokenError) -> None:
        """Nothing more comes."""
        self.usable = False
        for stream in self._streams.values():
            stream.fail(why)
        self._writer.close()
        self._reading.cancel()

    async def _read(self) -> None:
        why = BrokenError("connection closed without an answer")
        try:
            while data := await self._reader.read(_READ):
                for event in self._state.receive_data(data):
                    self._take(event)
                self._flush()
        except (OSError, h2.exceptions.H2Error) as error:
            why = BrokenError(_words(error))
        self.end(why)

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.usable = False
            for number, waiting in self._streams.items():
                if number > (event.last_stream_id or 0):
                    waiting.fail(BrokenError("the server goes away and does not answer"))
            return
        stream = self._streams.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, h2.events.DataReceived):
            self._state.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        if stream is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            stream.status = next(int(value) for name, value in event.headers if name == b":status")
        elif isinstance(event, h2.events.DataReceived):
            stream.body += event.data
        elif isinstance(event, h2.events.StreamReset):
            stream.fail(BrokenError(f"the stream was reset (code {event.error_code})"))
        elif isinstance(event, h2.events.StreamEnded) and not stream.done.done():
            stream.done.set_result(Answer(stream.status, bytes(stream.body)))

    def _flush(self) -> None:
        with suppress(OSError):  # the reader hears of it
            self._writer.write(self._state.data_to_send())


async def _connection(
    host: str, port: int, tls: ssl.SSLContext | None, name: str | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        async with asyncio.timeout(_CONNECT_S):
            return await asyncio.open_connection(host, port, ssl=tls, server_hostname=name)
    except OSError as error:  # of which TimeoutError is one
        raise BrokenError(f"no connection: {_words(error)}") from error


def _words(error: Exception) -> str:
    match error:
        case asyncio.IncompleteReadError(partial=b""):
            return "connection closed without an answer"
        case asyncio.IncompleteReadError():
            return "connection closed in the middle of an answer"
        case ConnectionResetError():
            return "connection reset"
    return f"{type(error).__name__}: {error}"
