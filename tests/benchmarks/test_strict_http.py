"""The strict client counts every answer that is not whole as a failure, and makes none up for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from benchmarks.strict_http import Answer, BrokenError, Http1, Http2, Question
from officeops.process import Command, started
from officeops.stack.local.programs import caddy
from tests.support.ports import eventually, free_ports

GET = Question("GET", "/")
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"


class Server:
    """Gives the bytes it is told to, connection by connection. A connection's last one is closed after it."""

    def __init__(self, *connections: list[bytes]) -> None:
        self._connections, self.asked, self.port = list(connections), 0, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for said in self._connections.pop(0):
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            writer.write(said)
        writer.close()


def talk(server: Server, conversation: Callable[[Http1], Awaitable[None]]) -> None:
    """Has a client talk to the server."""

    async def both() -> None:
        async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
            server.port = listening.sockets[0].getsockname()[1]
            await conversation(Http1("127.0.0.1", server.port))

    asyncio.run(both())


async def refused(client: Http1) -> str:
    """What the client says of its next question."""
    with pytest.raises(BrokenError) as error:
        await client.ask(GET)
    return str(error.value)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ngood", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n", "without an answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngo", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n", "without an answer"),
        (b"HTTP/1.1 200 OK\r\n\r\ngood", "unknown length"),
        (b"something else\r\n\r\n", "ValueError"),
    ],
    ids=["nothing", "half a head", "short body", "no last chunk", "half a chunk", "no end of chunks", "no length", "no HTTP"],
)
def test_an_answer_that_is_not_whole_is_a_failure_and_is_not_asked_for_again(said: bytes, words: str) -> None:
    server = Server([said])

    async def conversation(client: Http1) -> None:
        assert words in await refused(client)

    talk(server, conversation)
    assert server.asked == 1


def test_a_connection_is_kept_from_one_question_to_the_next() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ngo\r\n2\r\nod\r\n0\r\n\r\n"
    server = Server([WHOLE, chunked, WHOLE])

    async def conversation(client: Http1) -> None:
        assert [await client.ask(GET) for _ in range(3)] == [Answer(200, b"good")] * 3

    talk(server, conversation)


def test_a_connection_that_was_closed_before_a_question_was_sent_is_opened_again() -> None:
    server = Server([WHOLE], [WHOLE])

    async def conversation(client: Http1) -> None:
        assert await client.ask(GET) == Answer(200, b"good")
        await asyncio.sleep(0.1)  # it hears of the end
        assert await client.ask(GET) == Answer(200, b"good")

    talk(server, conversation)


def test_a_kept_connection_that_is_closed_instead_of_an_answer_is_a_failure() -> None:
    server = Server([WHOLE, b""], [WHOLE])

    async def conversation(client: Http1) -> None:
        await client.ask(GET)
        assert "without an answer" in await refused(client)
        assert server.asked == 2
        assert await client.ask(GET) == Answer(200, b"good")

    talk(server, conversation)


def test_a_server_that_is_not_there_is_a_failure() -> None:
    async def conversation() -> None:
        assert "no connection" in await refused(Http1("127.0.0.1", free_ports(1)[0]))

    asyncio.run(conversation())


@dataclass
class Door:
    """A real Caddy that speaks HTTP/2 on `port`: /good answers by itself, everything else is asked of `upstream`."""

    port: int
    upstream: int


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """One that is ready."""
    found = Door(*free_ports(2))
    (tmp_path / "Caddyfile").write_text(f"""
        {{
            admin off
            skip_install_trust
            auto_https disable_redirects
        }}
        https://localhost:{found.port} {{
            tls internal
            respond /good "good"
            reverse_proxy 127.0.0.1:{found.upstream}
        }}
    """)
    homes = {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    command = Command((str(caddy()), "run", "--config", str(tmp_path / "Caddyfile"), "--adapter", "caddyfile"), homes)
    with started(command, timeout=60):
        eventually(lambda: answers(found), what="Caddy's start")
        yield found


def answers(door: Door) -> bool:
    """Whether it has made its certificate."""
    with suppress(httpx.HTTPError):
        return httpx.get(f"https://localhost:{door.port}/good", verify=False).status_code == 200
    return False


def test_http2_answers_many_questions_at_once_on_one_connection(door: Door) -> None:
    async def conversation() -> None:
        client = Http2("127.0.0.1", door.port)
        answers = await asyncio.gather(*[client.ask(Question("GET", "/good")) for _ in range(50)])
        client.close()
        assert answers == [Answer(200, b"good")] * 50

    asyncio.run(conversation())


def test_an_http2_answer_that_is_cut_off_is_a_failure_and_the_others_are_none(door: Door) -> None:
    server = Server([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ngood"])

    async def conversation() -> None:
        client = Http2("127.0.0.1", door.port)
        async with await asyncio.start_server(server.serve, "127.0.0.1", door.upstream):
            cut, good = await asyncio.gather(client.ask(GET), client.ask(Question("GET", "/good")), return_exceptions=True)
        client.close()
        assert isinstance(cut, BrokenError)
        assert good == Answer(200, b"good")

    asyncio.run(conversation())
    assert server.asked == 1


def test_a_server_that_is_not_there_is_a_failure_by_http2_too() -> None:
    async def conversation() -> None:
        with pytest.raises(BrokenError):
            await Http2("127.0.0.1", free_ports(1)[0]).ask(GET)

    asyncio.run(conversation())
