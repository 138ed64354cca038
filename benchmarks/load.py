"""A strict load on the application: many kinds of clients at once, in a process of its own, every request written down.

Anything but a whole and right answer counts as failed, and nothing is asked again. See strict_http.py for what is whole, `_right` for what is right.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import pickle
import random
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.record import Record
from benchmarks.strict_http import Answer, BrokenError, Http1, Http2, Question
from officeops.process import Child, Command, started

if TYPE_CHECKING:
    from officeops.site import Site

PROJECT = Path(__file__).resolve().parent.parent
SLOW_POST_S = 3.0
# Some say which release answers, some ask the database; most are cheap, so that the machine is not what is measured.
_PAGES = ("/version", "/health", "/", "/health", "/version", "/health", "/", "/ready")
_ANSWER_S = 30.0  # a short request that takes longer has failed; a stream gets as much beyond its length
_LOAD_S = 3600.0

Ask = Callable[[Question], Awaitable[Answer]]


@dataclass(frozen=True)
class Clients:
    """`count` of them, of a kind of record.KINDS. rate: requests a second of each, 0 for one right after the other."""

    kind: str
    count: int
    rate: float = 0.0


@dataclass(frozen=True)
class Plan:
    """What to ask where. tls_port: for HTTP/2. token: a login. stream_seconds: how long the usual streams last."""

    host: str
    port: int
    tls_port: int | None
    token: str
    clients: tuple[Clients, ...]
    stream_seconds: int = 6


def log_in(site: Site) -> str:
    """A login of the demonstration's user, whose data must be there."""
    import httpx  # here: the process of the load does without

    settings = site.config.settings
    given = {"name": "demo", "password": settings.demo_password.get_secret_value()}
    answer = httpx.post(f"http://127.0.0.1:{settings.http_port}/api/v1/auth/login", json=given, timeout=30)
    return str(answer.raise_for_status().json()["access_token"])


class Load:
    """A load that runs. `record` is there when it has ended."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._begun, self._record = threading.Event(), b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def stream(self, seconds: int) -> None:
        """One more event stream of that length begins."""
        self._tell({"stream": seconds})

    def end(self) -> Record:
        """No new requests; waits for those on their way."""
        self._tell({"end": True})
        self._reader.join()
        self._child.wait()
        record = pickle.loads(self._record)  # our own process wrote it
        assert isinstance(record, Record)
        return record

    def await_begin(self) -> None:
        """Returns when its clients have begun."""
        self._begun.wait()

    def _tell(self, what: dict[str, object]) -> None:
        with suppress(BrokenPipeError):  # it died: `end` says of what
            self._child.stdin.write(json.dumps(what).encode() + b"\n")
            self._child.stdin.flush()

    def _read(self) -> None:
        self._child.stdout.readline()
        self._begun.set()
        self._record = self._child.stdout.read()


@contextmanager
def running_load(plan: Plan) -> Iterator[Load]:
    """The load, in a process of its own: what else this one does must not make it late. Call `end` for what happened."""
    command = Command((sys.executable, "-m", "benchmarks.load"), cwd=PROJECT, title="the load")
    with started(command, timeout=_LOAD_S, stdin=subprocess.PIPE) as child:
        load = Load(child)
        load._tell(asdict(plan))
        load.await_begin()
        yield load


class _Running:
    """The clients of a plan, in their own process."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self.record = plan, Record()
        self._over = asyncio.Event()
        self._numbers = itertools.count(1)
        self._http2 = Http2(plan.host, plan.tls_port) if plan.tls_port else None
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        for clients in self._plan.clients:
            for _ in range(clients.count):
                self._add(self._client(clients))

    def stream(self, seconds: int) -> None:
        self._add(self._once("stream", self._question("stream", seconds), self._connection("stream")))

    async def end(self) -> None:
        self._over.set()
        while self._tasks:
            await asyncio.gather(*self._tasks)

    def _add(self, what: Awaitable[None]) -> None:
        task = asyncio.ensure_future(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _client(self, clients: Clients) -> None:
        """Asks again and again, at its rate as long as the answers let it."""
        ask, pause = self._connection(clients.kind), 1 / clients.rate if clients.rate else 0.0
        due = time.monotonic() + random.random() * (pause or 1.0)  # not all at once
        while not await self._over_by(due):
            await self._once(clients.kind, self._question(clients.kind, self._plan.stream_seconds), ask)
            due = max(due + pause, time.monotonic())

    async def _over_by(self, due: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), max(0.0, due - time.monotonic()))
        return self._over.is_set()

    def _connection(self, kind: str) -> Ask:
        if kind == "http2":
            assert self._http2 is not None, "HTTP/2 needs a port with TLS"
            return self._http2.ask
        return Http1(self._plan.host, self._plan.port, keep=kind != "one-shot").ask

    def _question(self, kind: str, seconds: int) -> Question:
        number = next(self._numbers)
        if kind in ("get", "one-shot", "http2"):
            return Question("GET", _PAGES[number % len(_PAGES)])
        headers = (("Content-Type", "application/json"), ("Authorization", f"Bearer {self._plan.token}"))
        if kind == "stream":
            body = {"message": f"Please talk for {seconds} seconds."}
            return Question("POST", "/api/v1/ai/chat", json.dumps(body).encode(), headers, answer_seconds=seconds)
        body = {"title": f"load {number}"}
        return Question("POST", "/api/v1/conversations", json.dumps(body).encode(), headers, SLOW_POST_S if kind == "slow post" else 0.0)

    async def _once(self, kind: str, question: Question, ask: Ask) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(_ANSWER_S + question.answer_seconds):
                answer = await ask(question)
            release = _right(question, answer)
        except (BrokenError, TimeoutError) as error:
            why = str(error) or "no whole answer in time"
            self.record.failed(kind, began, time.monotonic() - began, f"{question.method} {question.path}: {why}")
        else:
            self.record.answered(kind, began, time.monotonic() - began, release)


def _right(question: Question, answer: Answer) -> str:
    """Which release answered, where the answer says so. Raises BrokenError when it is not what was asked for."""
    wanted = 201 if question.path == "/api/v1/conversations" else 200
    if answer.status != wanted:
        raise BrokenError(f"status {answer.status}: {answer.body[:100].decode(errors='replace')}")
    if question.path == "/":
        _require(b"</html>" in answer.body, answer)
        return ""
    if question.path == "/api/v1/ai/chat":
        _require(answer.body.startswith(b"event: start\n") and answer.body.endswith(b"event: end\ndata: {}\n\n"), answer)
        return ""
    said = _object(answer)
    match question.path:
        case "/version":
            _require(isinstance(said.get("release"), str) and said.get("revision"), answer)
            return str(said["release"])
        case "/health":
            _require(said == {"status": "ok"}, answer)
        case "/ready":
            _require(said == {"database": "ok", "redis": "ok"}, answer)
        case _:
            _require(said.get("title") == json.loads(question.body)["title"], answer)
    return ""


def _object(answer: Answer) -> dict[str, object]:
    with suppress(ValueError):
        said = json.loads(answer.body)
        if isinstance(said, dict):
            return said
    raise BrokenError(f"a wrong answer: {answer.body[-100:].decode(errors='replace')}")


def _require(right: object, answer: Answer) -> None:
    if not right:
        raise BrokenError(f"a wrong answer: {answer.body[-100:].decode(errors='replace')}")


async def _serve() -> Record:
    """Does as it is told by lines on stdin, the first of which is the plan."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    given = json.loads(await reader.readline())
    running = _Running(replace(Plan(**given), clients=tuple(Clients(**one) for one in given["clients"])))
    running.begin()
    print("begun", flush=True)
    while "end" not in (told := json.loads(await reader.readline() or b'{"end": true}')):
        running.stream(told["stream"])
    await running.end()
    return running.record


if __name__ == "__main__":
    pickle.dump(asyncio.run(_serve()), sys.stdout.buffer)
