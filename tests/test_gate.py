"""The gate, on a real Caddy with two real backends and two frontends behind it."""

from __future__ import annotations

import http.client
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from officeops.errors import OfficeOpsError, RefusedError, TransientError
from officeops.gate import DrainTimeoutError, Gate
from officeops.postgres import databases
from officeops.process import Command
from officeops.stack.caddy import in_flight
from officeops.stack.local.programs import as_pattern, caddy
from officeops.stack.port import Colour, other
from tests.support.backend import Office, Server, alembic, backend_server, python, running_office
from tests.support.model import Model, running_model
from tests.support.paths import open_folder
from tests.support.ports import eventually, free_ports
from tests.support.postgres import Running

pytestmark = pytest.mark.xdist_group("gate")
BLUE, GREEN = "0123abcd", "4567cdef"
FLIPS, CLIENTS = 30, 6
EACH_ANEW = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), timeout=30)  # a connection for each request


@dataclass
class Door:
    """What a gate is asked of, without a stack around it."""

    office: Office
    green: Server
    pages: dict[Colour, Server]
    folders: dict[Colour, Path]

    @property
    def gate_folder(self) -> Path:
        return self.office.gate_folder

    def front_door(self) -> str:
        return str(self.office.front.base_url).rstrip("/")

    def in_flight(self, colour: Colour) -> int:
        address = f"127.0.0.1:{self.office.green_port if colour == 'green' else urlsplit(str(self.office.direct.base_url)).port}"
        try:
            return in_flight(EACH_ANEW.get(f"http://127.0.0.1:{self.office.admin_port}/reverse_proxy/upstreams").content, {address})
        except httpx.TransportError as error:
            raise TransientError("Caddy does not answer.") from error


@pytest.fixture(scope="module")
def shared_door(postgres: Running) -> Iterator[Door]:
    """An office with a second backend and two frontends, in a folder whose name Caddy could take for a pattern."""
    name = f"gate_{uuid4().hex[:8]}"
    address = postgres.address(name)
    with (
        databases.maintenance(postgres.address(), application="test") as connection,
        open_folder() as outside,
        running_model() as model,
    ):
        folder = outside / "a [b] {c} * ? \\ 'q' \" $x 事務所"
        folder.mkdir()
        databases.create_like(connection, name, None)
        alembic("upgrade", "head", address=address)
        assert python("-m", "app.seed", "--messages", "60", address=address).status == 0
        pages, folders = {}, {}
        for colour in ("blue", "green"):
            folders[colour] = outside / colour
            folders[colour].mkdir()
            (folders[colour] / "index.html").write_text(f"<html>{colour}")
            (folders[colour] / f"{colour}.js").write_text(colour)
            (port,) = free_ports(1)
            argv = (str(caddy()), "file-server", "--root", str(folders[colour]), "--listen", f"127.0.0.1:{port}")
            pages[colour] = Server(Command(argv, {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}), port)
        frontends = {f"FRONTEND_{colour.upper()}": f"127.0.0.1:{server.port}" for colour, server in pages.items()}
        with running_office(address, model, folder, GATE_DIR=as_pattern(folder / "gate"), **frontends) as office:
            green = backend_server(address, office.redis.port, model.port, port=office.green_port, release=GREEN)
            servers = (green, *pages.values())
            try:
                for server in servers:
                    server.start()
                yield Door(office, green, pages, folders)
            finally:
                for server in servers:
                    server.stop()
        databases.drop(connection, name)


@pytest.fixture
def door(shared_door: Door) -> Door:
    """With blue open and green shut, and a model that behaves."""
    gate = Gate(shared_door)
    gate.open("blue")
    gate.shut("green")
    model, fresh = shared_door.office.model, Model()
    model.script, model.status, model.tags = fresh.script, fresh.status, fresh.tags
    return shared_door


@pytest.fixture
def gate(door: Door) -> Gate:
    return Gate(door)


def get(door: Door, path: str) -> httpx.Response:
    """In a connection of its own."""
    return EACH_ANEW.get(door.front_door() + path)


def releases(door: Door, times: int = 20) -> set[str]:
    """Who answers now."""
    return {get(door, "/version").json()["release"] for _ in range(times)}


def test_requests_go_where_the_gate_is_open_at_once(door: Door, gate: Gate) -> None:
    assert releases(door) == {BLUE}
    gate.open("green")
    gate.shut("blue")
    assert releases(door) == {GREEN}
    assert get(door, "/").text == "<html>green"
    gate.open("blue")
    gate.shut("green")
    assert releases(door) == {BLUE}
    assert get(door, "/").text == "<html>blue"


def test_in_the_moment_of_a_switch_both_answer(door: Door, gate: Gate) -> None:
    gate.open("green")
    assert gate.open_colours() == ("blue", "green")
    assert releases(door) == {BLUE, GREEN}


def test_when_both_are_open_and_one_does_not_run_the_other_answers(door: Door, gate: Gate) -> None:
    """As after a kill in the middle of a switch and a restart of the machine."""
    gate.open("green")
    for stopped in (door.green, door.pages["green"]):
        stopped.stop()
    try:
        assert releases(door) == {BLUE}
        assert {get(door, "/").text for _ in range(5)} == {"<html>blue"}
    finally:
        for stopped in (door.green, door.pages["green"]):
            stopped.start()


def test_the_last_open_gate_is_never_shut(door: Door, gate: Gate) -> None:
    with pytest.raises(RefusedError, match="blue is the only colour"):
        gate.shut("blue")
    assert gate.open_colours() == ("blue",)
    assert releases(door) == {BLUE}


@pytest.mark.parametrize("colour", ["blue", "green"])
def test_opening_what_is_open_and_shutting_what_is_shut_changes_nothing(door: Door, gate: Gate, colour: Colour) -> None:
    gate.open(colour)
    gate.shut(other(colour))
    gate.open(colour)
    gate.shut(other(colour))
    assert gate.open_colours() == (colour,)
    assert [path.name for path in door.gate_folder.iterdir()] == [f"{other(colour)}.drain"]


@dataclass
class Load:
    """Clients that keep asking, each in connections that it keeps, in new ones, with and without a body. Anything but a whole answer
    with status 200 is a failure."""

    door: Door
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        headers = self.door.office.headers()
        for number in range(CLIENTS):
            self._threads.append(threading.Thread(target=self._client, args=(number, headers)))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _client(self, number: int, headers: dict[str, str]) -> None:
        place, connection = urlsplit(self.door.front_door()), None
        while not self._over.is_set():
            try:
                connection = connection or http.client.HTTPConnection(str(place.hostname), place.port, timeout=30)
                if number % 3 == 0:
                    connection.request(
                        "POST", "/api/v1/conversations", b'{"title": "load"}', {**headers, "Content-Type": "application/json"}
                    )
                else:
                    connection.request("GET", "/version" if number % 3 == 1 else "/")
                answer = connection.getresponse()
                text = answer.read().decode()
                if answer.status not in (200, 201):
                    self.failures.append(f"{answer.status} {text[:80]}")
                self.answers[text if number % 3 else "POST"] += 1
                if number > CLIENTS // 2:  # the other half keeps its connection
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection = None
            self._over.wait(0.005)


def test_over_many_switches_no_request_is_lost(door: Door, gate: Gate) -> None:
    with Load(door) as load:
        for number in range(FLIPS):
            opened: Colour = "blue" if number % 2 else "green"
            gate.open(opened)
            gate.shut(other(opened))
            gate.drained(other(opened), 30)
    assert load.failures == []
    assert all(
        sum(count for text, count in load.answers.items() if said in text) for said in (BLUE, GREEN, "<html>blue", "<html>green", "POST")
    )


def test_a_colour_that_was_drained_can_be_stopped_and_started_without_a_loss(door: Door, gate: Gate) -> None:
    with Load(door) as load:
        for _ in range(2):
            gate.open("blue")
            gate.shut("green")
            gate.drained("green", 30)
            door.green.stop()
            door.green.start()
            gate.open("green")
            gate.shut("blue")
            eventually(lambda: gate.serving("/version") == GREEN, what="green's turn")
    assert load.failures == []


def test_a_stream_of_a_shut_colour_goes_on_to_its_end_and_is_counted_until_then(door: Door, gate: Gate) -> None:
    held = threading.Event()
    door.office.model.script = ("before ", held, "after")
    with door.office.front.stream("POST", "/api/v1/ai/chat", json={"message": "Hello?"}, headers=door.office.headers()) as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if "before" in line)
        gate.open("green")
        gate.shut("blue")
        assert releases(door) == {GREEN}
        assert gate.in_flight("blue") == 1
        with pytest.raises(DrainTimeoutError, match=r"1 request of blue did not end within 0\.2 s") as caught:
            gate.drained("blue", 0.2)
        assert caught.value.left == 1
        held.set()
        rest = list(lines)
    assert any("after" in line for line in rest)
    assert "event: end" in rest
    assert gate.drained("blue", 10) < 10


def test_gates_are_unchanged_when_caddy_was_killed_and_is_back(door: Door, gate: Gate) -> None:
    gate.open("green")
    gate.shut("blue")
    for _ in range(3):
        door.office.door.kill()
        assert gate.serving("/version") is None
        with pytest.raises(OfficeOpsError, match="does not answer"):
            gate.drained("blue", 0.1)
        door.office.door.start()
        assert releases(door) == {GREEN}
    assert gate.open_colours() == ("green",)


@pytest.mark.parametrize("open_colour", ["blue", "green", "both"])
def test_a_file_that_a_colour_does_not_have_is_taken_from_the_other(door: Door, gate: Gate, open_colour: str) -> None:
    gate.open("green")
    if open_colour != "both":
        gate.open("green" if open_colour == "green" else "blue")
        gate.shut("blue" if open_colour == "green" else "green")
    for name in ("blue", "green"):
        answer = get(door, f"/{name}.js")
        assert (answer.status_code, answer.text, answer.headers["x-content-type-options"]) == (200, name, "nosniff")


@pytest.mark.parametrize("runs", [True, False], ids=["while it runs", "while it does not"])
def test_a_file_that_neither_has_is_not_found(door: Door, gate: Gate, runs: bool) -> None:
    gate.open("blue")
    if not runs:
        door.pages["green"].stop()
    try:
        for method in ("GET", "HEAD", "POST"):
            answer = EACH_ANEW.request(method, door.front_door() + "/nobody-has-it.js")
            assert answer.status_code == 404
        assert get(door, "/").status_code == 200
    finally:
        if not runs:
            door.pages["green"].start()


def test_a_frontend_that_does_not_run_is_an_error_and_not_a_missing_file(door: Door) -> None:
    door.pages["blue"].stop()
    try:
        assert get(door, "/").status_code == 502
    finally:
        door.pages["blue"].start()


def test_metrics_are_for_nobody_behind_the_front_door(door: Door) -> None:
    assert get(door, "/metrics").status_code == 404


def test_a_body_that_is_too_large_is_refused(door: Door) -> None:
    with suppress(httpx.WriteError):  # it may be told before it has sent everything
        answer = EACH_ANEW.post(door.front_door() + "/api/v1/auth/login", content=b"x" * 1_100_000)
        assert answer.status_code == 413


@dataclass
class Nothing:
    """A stack of which only the folder is needed."""

    gate_folder: Path

    def front_door(self) -> str:
        return "http://127.0.0.1:1"

    def in_flight(self, colour: Colour) -> int:
        return 0


@pytest.mark.parametrize("colour", ["blue", "green"])
def test_where_there_were_no_gates_one_colour_is_opened_and_the_folder_can_be_looked_into(tmp_path: Path, colour: Colour) -> None:
    umask = os.umask(0o077)
    try:
        gate = Gate(Nothing(tmp_path / "gate"))
        gate.prepare(colour)
    finally:
        os.umask(umask)
    assert gate.open_colours() == (colour,)
    assert stat.S_IMODE((tmp_path / "gate").stat().st_mode) == 0o755


def test_gates_that_were_set_stay_as_they_are(tmp_path: Path) -> None:
    gate = Gate(Nothing(tmp_path / "gate"))
    gate.prepare("green")
    for colour in ("blue", "green"):
        gate.prepare(colour)
        assert gate.open_colours() == ("green",)


def test_nobody_serves_behind_a_front_door_that_does_not_answer(tmp_path: Path) -> None:
    assert Gate(Nothing(tmp_path)).serving("/version") is None


def test_the_drain_waits_for_a_request_that_shows_up_after_a_first_look(tmp_path: Path) -> None:
    """Caddy may have let it in before the gate was shut, and count it a moment later."""
    seen = iter([0, 1, 0, 0])

    class Late(Nothing):
        def in_flight(self, colour: Colour) -> int:
            return next(seen)

    began = time.monotonic()
    assert 0 < Gate(Late(tmp_path)).drained("blue", 30) <= time.monotonic() - began
    assert next(seen, None) is None
