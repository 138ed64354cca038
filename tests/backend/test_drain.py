"""Going away without dropping anybody."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator

import httpx
import pytest

from officeops.process import Child, Command, run
from officeops.stack.local.programs import caddy
from tests.support.backend import CADDYFILE, Office, Server, backend_server, events, listens, python
from tests.support.ports import eventually

pytestmark = pytest.mark.xdist_group("backend")


@pytest.fixture
def leaving(office: Office) -> Iterator[tuple[Server, Child]]:
    """Another backend of the same office, which the test may end."""
    server = backend_server(office.address, office.redis.port, office.model.port)
    yield server, server.start()
    server.stop()


def test_a_running_answer_is_finished_and_kept_before_it_exits_while_new_requests_are_refused(
    office: Office, leaving: tuple[Server, Child]
) -> None:
    server, child = leaving
    held = threading.Event()
    office.model.script = ("before ", held, "after")
    conversation = office.new_conversation()
    body = {"message": "Hello?", "conversation_id": conversation}
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client,
        client.stream("POST", "/api/v1/ai/chat", json=body, headers=office.headers()) as answer,
    ):
        said = events(answer.iter_lines())
        assert [next(said)[0], next(said)[0]] == ["start", "token"]
        os.kill(child.pid, signal.SIGTERM)
        eventually(lambda: not listens(server.port), what="closing of the door")
        held.set()
        assert list(said) == [("token", {"text": "after"}), ("end", {})]
    child.wait(ok=(0, -signal.SIGTERM))
    assert office.messages(conversation) == [("user", "Hello?"), ("assistant", "before after")]


def test_an_idle_backend_exits_when_told(leaving: tuple[Server, Child]) -> None:
    server, child = leaving
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as kept_alive:
        assert kept_alive.get("/ready").status_code == 200
        os.kill(child.pid, signal.SIGTERM)
        child.wait(ok=(0, -signal.SIGTERM))


def test_the_backend_keeps_idle_connections_longer_than_caddy_does(office: Office) -> None:
    """Else Caddy would send a request into a connection that the backend is closing: a 502 now and then."""
    adapted = json.loads(run(Command((str(caddy()), "adapt", "--config", str(CADDYFILE))), timeout=30).stdout)
    caddys_ns = [transport["keep_alive"]["idle_timeout"] for transport in _transports(adapted)]
    backends = float(python("-c", "import app.__main__ as m; print(m._KEEP_ALIVE_S)", address=office.address).stdout)
    assert len(caddys_ns) == 10  # for either service: a colour alone, the other one, both; whom a missing file is asked of; Prefect
    assert max(caddys_ns) / 1e9 < backends / 2


def _transports(part: object) -> Iterator[dict[str, dict[str, int]]]:
    if isinstance(part, dict):
        if part.get("handler") == "reverse_proxy":
            yield part["transport"]
        for inner in part.values():
            yield from _transports(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _transports(inner)
