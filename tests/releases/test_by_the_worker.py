"""The control plane in containers beside the stack that it manages: its worker backs up, deploys and rolls back by the host's engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from deployments import control_plane
from deployments.control_plane import WATCHER, WORKER
from officeops.backups.catalogue import entries
from officeops.gate import Gate
from officeops.host import host_name
from officeops.lock import LockedError
from officeops.stack.compose import engine as docker_engine
from tests.releases.conftest import Office
from tests.support.asked import reports
from tests.support.channel import listening
from tests.support.control_plane import Plane
from tests.support.ports import eventually

pytestmark = [pytest.mark.xdist_group("compose"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def plane(compose_office: Office) -> Iterator[Plane]:
    """Beside the office, on the same engine."""
    site = compose_office.running.site
    with listening() as channel:
        try:
            started = control_plane.up(site.config)
            yield Plane(site, channel, started.changes, started.parts)
        finally:
            control_plane.down(site.config)


def containers(stack: str) -> dict[str, str]:
    """Ids of the project's running containers by service."""
    found = docker_engine.Engine().containers({docker_engine.PROJECT: stack}, running_only=True)
    return {one["Labels"][docker_engine.SERVICE]: one["Id"] for one in found}


def test_the_worker_backs_up_and_drills_the_database_beside_it(plane: Plane) -> None:
    for flow in ("nightly-backup", "restore-drill"):
        ended = plane.ended(plane.start(flow))
        assert ended.state_name == "Completed", ended.state
    newest = entries(plane.site)[0]
    assert newest.verified
    assert newest.drilled_at is not None
    shown = plane.officeops("backups", "--json").json["backups"][0]
    assert shown["id"] == newest.id
    assert shown["drilled_at"]


def test_the_worker_deploys_and_rolls_back_and_stays_itself(plane: Plane, compose_office: Office) -> None:
    before = containers(plane.site.name)
    gate = Gate(plane.site.stack)
    deployed = plane.ended(plane.start("deploy", ref=compose_office.second.sha))
    assert deployed.state_name == "Completed", deployed.state
    assert gate.serving("/version") == compose_office.second.sha
    back = plane.ended(plane.start("rollback"))
    assert back.state_name == "Completed", back.state
    assert gate.serving("/version") == compose_office.first.sha
    tried = plane.ended(plane.start("emergency", dry_run=True, to=compose_office.second.sha[:10]))
    left = reports(plane, tried.id)
    assert compose_office.second.sha[:10] in left["emergency-plan"]
    assert f"| host | {host_name(plane.site.config.settings)} |" in left["stack"]  # and not the container's
    tried = plane.ended(plane.start("migrate-stamp", dry_run=True, revision="base"))
    assert "`base` is written down as the schema's revision, instead of" in reports(plane, tried.id)["stamp-plan"]
    assert gate.serving("/version") == compose_office.first.sha
    after = containers(plane.site.name)
    assert {WORKER, WATCHER} <= after.keys()
    assert {name: one for name, one in after.items() if "prefect" in name} == {
        name: one for name, one in before.items() if "prefect" in name
    }


def test_the_watcher_keeps_samples_which_the_host_reads(plane: Plane) -> None:
    since = datetime.now(UTC) - timedelta(minutes=10)
    eventually(lambda: plane.site.ledger.samples(since=since), 150, "the watcher's first round")
    assert plane.officeops("check", "--json").json["probes"]


def test_the_host_is_told_when_the_worker_holds_the_lock(plane: Plane) -> None:
    run, said = plane.start("nightly-backup"), []

    def refused() -> bool:
        try:
            with plane.site.locked("a test"):
                return False
        except LockedError as error:
            said.append(str(error))
            return True

    eventually(refused, 120, "the worker's lock")
    assert "backup" in said[-1]
    assert plane.ended(run).state_name == "Completed"
