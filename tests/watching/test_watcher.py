"""The watcher's rounds, with probes that the test says and everything else real."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from officeops.clock import iso
from officeops.config import Config
from officeops.ledger.watching import Incident
from officeops.probes import Reading, judge
from officeops.probes.rounds import Round
from officeops.remedies.due import due
from officeops.site import Site
from officeops.watching import watcher as module
from officeops.watching.watcher import Chore, Watcher
from tests.support.control_plane import Channel, listening

BEGIN = datetime(2026, 3, 1, 8, tzinfo=UTC)
GOOD = {"postgres.answers": 1.0, "prefect.server": 1.0, "prefect.worker": 5.0}
MEASURES = {"postgres.answers": "database", "prefect.server": "prefect", "prefect.worker": "heartbeat"}


@dataclass
class World:
    """A site, its clock, what the probes find, and a Prefect server that is there or not."""

    site: Site
    channel: Channel
    now: datetime = BEGIN
    found: dict[str, float | None] = field(default_factory=lambda: dict(GOOD))
    events: list[dict[str, Any]] = field(default_factory=list)
    server_up: bool = True
    mended: list[str] = field(default_factory=list)

    def watcher(self, **given: Any) -> Watcher:
        return Watcher(self.site, healing=due, mend=lambda _site, name: self.mended.append(name), **given)

    def rounds(self, watcher: Watcher, count: int) -> None:
        for _ in range(count):
            watcher.round()
            self.now += timedelta(minutes=1)

    def told(self) -> list[str]:
        return [json.loads(body)["title"] for _path, body in self.channel.messages]


@pytest.fixture
def world(new_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made: list[World] = []

    class Prefect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, {"token": "t"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.headers.get("Prefect-Csrf-Token") != "t":
                self.answer(403, {"detail": "Missing CSRF token."})
            elif not made[0].server_up:
                self.answer(503, {})
            else:
                made[0].events += body
                self.answer(204, None)

        def answer(self, status: int, body: object) -> None:
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Prefect)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with listening() as channel:
        before = new_site()
        changed = {
            "notify_urls": (SecretStr(f"json://{channel.url}/told"),),
            "prefect_api_url": f"http://127.0.0.1:{server.server_port}/api",
        }
        settings = before.config.settings.model_copy(update=changed)
        world = World(Site(Config(before.config.folder, settings, before.config.runbook)), channel)
        made.append(world)
        world.site = replace(world.site, clock=lambda: world.now)

        def ask(site: Site, *_: object) -> Round:
            readings = [Reading(name, MEASURES[name], value, "as the test says") for name, value in world.found.items()]
            return Round(world.now, tuple(judge(readings, {})), (), {})

        monkeypatch.setattr(module, "ask", ask)
        yield world
    server.shutdown()
    server.server_close()


def test_people_are_told_once_and_events_are_emitted_on_each_change(world: World) -> None:
    watcher = world.watcher()
    world.rounds(watcher, 2)
    world.found["postgres.answers"] = 0.0
    world.rounds(watcher, 3)
    world.found["postgres.answers"] = 1.0
    world.rounds(watcher, 10)
    names = [one["event"] for one in world.events]
    assert names == ["officeops.alert.firing", "officeops.service.unhealthy", "officeops.alert.resolved"]
    assert world.events[1]["resource"] == {
        "prefect.resource.id": "officeops.stack.test_office.postgres.answers", "prefect.resource.name": "postgres.answers",
        "probe": "postgres.answers",
    }  # fmt: skip
    assert len(world.told()) == 2
    assert "postgres.answers" in world.told()[0]


def test_without_a_server_it_tells_and_mends_itself_and_delivers_events_later(world: World) -> None:
    world.server_up, world.found["prefect.server"] = False, 0.0
    world.found["postgres.answers"] = 0.0
    world.rounds(world.watcher(), 2)
    assert world.mended == ["postgres.answers"]
    assert world.events == []
    assert any("postgres.answers" in one for one in world.told())
    world.server_up = True
    world.rounds(world.watcher(), 1)  # another process: what waits is on the disk
    assert [one["event"] for one in world.events][:1] == ["officeops.alert.firing"]
    assert not [one for one in world.events if one["event"] == "officeops.service.unhealthy"], "it was seen to"
    count = len(world.events)
    world.rounds(world.watcher(), 1)
    assert len(world.events) == count, "nothing is sent twice"


def test_a_run_that_does_not_come_is_not_waited_for(world: World) -> None:
    world.found["postgres.answers"] = 0.0
    watcher = world.watcher()
    world.rounds(watcher, 4)
    assert world.mended == []
    world.rounds(watcher, 1)
    assert world.mended == ["postgres.answers"]
    assert len([one for one in world.events if one["event"] == "officeops.service.unhealthy"]) == 1


def test_what_is_being_treated_or_was_given_up_is_left_alone(world: World) -> None:
    world.found["postgres.answers"] = 0.0
    watcher = world.watcher()
    world.rounds(watcher, 1)
    incident = Incident("1", "postgres", "postgres.answers", "database", iso(world.now), "somebody")
    world.site.ledger.record_incident(incident)
    world.rounds(watcher, 2)
    assert world.mended == []
    world.site.ledger.record_incident(replace(incident, outcome="paged", ended_at=iso(world.now)))
    world.found["prefect.server"] = 0.0
    world.rounds(watcher, 60)
    assert [name for name in world.mended if name == "postgres.answers"] == [], "a person was called; once is enough"


def test_a_round_that_fails_is_told_once_and_the_next_one_comes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    good, fails = module.ask, True

    def ask(*given: Any) -> Round:
        if fails:
            raise ZeroDivisionError("nobody foresaw this")
        return good(*given)

    monkeypatch.setattr(module, "ask", ask)
    watcher = world.watcher()
    world.rounds(watcher, 5)
    assert len(world.told()) == 1
    assert "cannot do its rounds" in world.told()[0]
    fails = False
    assert watcher.round() is not None


def test_chores_are_done_when_they_are_due_and_may_fail(world: World) -> None:
    from officeops.errors import OfficeOpsError

    done: list[datetime] = []

    def export(site: Site) -> None:
        done.append(site.clock())
        raise OfficeOpsError("the store is away")

    world.rounds(world.watcher(chores=[Chore("export logs", timedelta(minutes=5), export)]), 11)
    assert done == [BEGIN, BEGIN + timedelta(minutes=5), BEGIN + timedelta(minutes=10)]


def test_it_runs_until_it_is_stopped(world: World) -> None:
    stopped = threading.Event()
    watcher = world.watcher(chores=[Chore("stop", timedelta(minutes=5), lambda _site: stopped.set())])
    watcher.run(stopped)
    assert len(world.site.ledger.samples(since=BEGIN)) == 1
