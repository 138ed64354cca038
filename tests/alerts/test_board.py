"""Alerts in the ledger, and what people do about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from officeops.alerts.board import acknowledge, end_silence, silence, work_in
from officeops.alerts.standing import standing
from officeops.alerts.telling import message
from officeops.errors import UsageError
from officeops.probes import Reading, judge
from officeops.site import Site
from officeops.stack.port import ServiceStatus
from officeops.watching.events import Queue, changed, publish

BEGIN = datetime(2026, 3, 1, 8, tzinfo=UTC)
DISK = Reading("host.disk", "disk", 0.9, "of 100 GB at /", facts={"total_bytes": 1e11})


@pytest.fixture
def site(new_site: Callable[..., Site]) -> Iterator[Site]:
    """One whose clock the test moves."""
    found = new_site()
    now = [BEGIN]
    made = replace(found, clock=lambda: now[0])
    made.__dict__["_now"] = now
    yield made
    made.ledger._engine.dispose()


def rounds(site: Site, count: int, *readings: Reading) -> list[str]:
    told = []
    for _ in range(count):
        told += [one.kind for one in work_in(site, judge(readings, {}), site.clock())]
        site.__dict__["_now"][0] += timedelta(minutes=1)
    return told


def test_alerts_live_in_the_ledger_so_that_a_new_watcher_goes_on(site: Site) -> None:
    assert rounds(site, 3, DISK) == ["firing"]
    (alert,) = site.ledger.alerts()
    assert (alert.phase, alert.since, alert.fired_at, alert.role) == ("firing", BEGIN, BEGIN + timedelta(minutes=1), "system_administrator")
    assert rounds(site, 20, replace(DISK, value=0.1)) == ["resolved"]
    assert site.ledger.alerts() == []
    (over,) = site.ledger.alerts(open_only=False)
    assert (over.phase, over.resolved_at) == ("resolved", BEGIN + timedelta(minutes=3))


def test_somebody_takes_care(site: Site) -> None:
    with pytest.raises(UsageError, match=r"no alert 'host\.disk'"):
        acknowledge(site, "host.disk", "sato")
    rounds(site, 2, DISK)
    change = acknowledge(site, "host.disk", "sato")
    assert (change.kind, change.alert.by) == ("acknowledged", "sato")
    assert rounds(site, 600, DISK) == []
    assert site.ledger.alerts()[0].phase == "acknowledged"


def test_a_silence_and_its_end(site: Site) -> None:
    silence(site, "host.*", 1, "sato", "a larger disk comes at nine")
    assert rounds(site, 30, DISK) == []
    end_silence(site, "host.*")
    assert rounds(site, 2, DISK) == ["firing"]
    with pytest.raises(UsageError, match="no silence"):
        end_silence(site, "host.*")


def test_the_message_says_what_since_when_and_what_to_do(site: Site) -> None:
    rounds(site, 1, DISK)
    (change,) = work_in(site, judge([DISK], {}), site.clock())
    made = message(change)
    assert (made.what, made.severity, made.role, made.since) == ("host.disk", "warning", "system_administrator", BEGIN)
    assert made.error == "host.disk is 90 % (at most 80 %): of 100 GB at /"
    assert "enlarge the disk to 150 GB" in made.todo
    assert "officeops ack host.disk" in made.todo


def test_status_shows_what_it_sees_and_what_the_watcher_knows(site: Site) -> None:
    rounds(site, 2, DISK)
    ill = ServiceStatus("backend", "running", "unhealthy", 0, None, None, "answers 503")
    found = {one.name: (one.text, one.phase) for one in standing(site, [ill, replace(ill, name="redis", health="healthy")], [])}
    assert found == {
        "backend.healthy": ("backend is unhealthy: answers 503", "seen"),
        "backups.verified": ("There is no verified backup.", "seen"),
        "host.disk": ("host.disk is 90 % (at most 80 %): of 100 GB at /", "firing"),
    }


def test_who_acknowledges_leaves_an_event_for_the_watcher_to_deliver_where_there_is_a_control_plane(site: Site) -> None:
    for _ in range(3):
        work_in(site, judge([DISK], site.config.runbook.alerts.rules), site.clock())
        site.__dict__["_now"][0] += timedelta(minutes=1)
    event = changed(site, acknowledge(site, "host.disk", "sato"))
    publish(site, [event])
    assert not (site.home / "watch" / "events.jsonl").exists()
    (site.home / "prefect").mkdir(parents=True)
    (site.home / "prefect" / "supervisord.conf").touch()
    publish(site, [event])
    assert "officeops.alert.acknowledged" in (site.home / "watch" / "events.jsonl").read_text()
    assert Queue(site.home / "watch").deliver(site) == 1, "no server answers: it waits"
