"""The flows heal and watch, on a real server."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from prefect.client.schemas.actions import DeploymentUpdate

from officeops.clock import utc_now
from officeops.probes.plane import Server
from officeops.watching.events import Event, Queue, unhealthy
from tasks.choices import with_choices
from tests.support.asked import reports
from tests.support.control_plane import Plane
from tests.support.ports import eventually

pytestmark = pytest.mark.xdist_group("control_plane")


def test_the_watcher_runs_and_does_its_rounds(plane: Plane) -> None:
    eventually(lambda: plane.site.ledger.samples(since=utc_now() - timedelta(days=1)), 60, "the watcher's first round")


def test_heal_finds_what_is_well_well_and_says_so(plane: Plane) -> None:
    run = plane.ended(plane.start("heal", probe="host.inodes"))
    assert run.state is not None
    assert (run.state.type.value, run.state.name) == ("COMPLETED", "Well")


def test_heal_that_cannot_even_begin_says_so_in_its_report(plane: Plane) -> None:
    run = plane.ended(plane.start("heal", probe="nothing.such"))
    assert run.state_name == "Failed"
    assert "Nothing of the name 'nothing.such' is asked now" in reports(plane, run.id)["incident"]


def test_watch_publishes_the_last_day_and_makes_the_choices_of_the_forms_anew(plane: Plane) -> None:
    drill = plane.deployment("restore-drill")
    stale = with_choices(drill.parameter_openapi_schema or {}, "backup", ["gone"])
    with plane.client() as client:
        client.update_deployment(drill.id, DeploymentUpdate(parameter_openapi_schema=stale))
    eventually(lambda: plane.site.ledger.samples(since=utc_now() - timedelta(days=1)), 60, "the watcher's first round")
    with plane.client() as client:
        run = plane.ended(client.create_flow_run_from_deployment(plane.deployment("watch").id))
    assert run.state is not None
    assert run.state.is_completed(), run.state.message
    found = Server(plane.site, timeout=30).post(
        "/artifacts/filter", {"artifacts": {"key": {"any_": [f"watch-{plane.site.name}".replace("_", "-")]}}}
    )
    assert "host.disk" in found[0]["data"]
    assert '"enum": ["latest"' in json.dumps(plane.deployment("restore-drill").parameter_openapi_schema)


def test_an_event_of_the_watcher_starts_the_flow_heal(plane: Plane) -> None:
    queue = Queue(plane.site.home / "test-events")
    event: Event = unhealthy(plane.site, "host.disk")
    queue.put(plane.site, [event])
    assert queue.deliver(plane.site) == 0

    def begun() -> bool:
        runs = Server(plane.site, timeout=30).post("/flow_runs/filter", {"flows": {"name": {"any_": ["heal"]}}})
        return any(run["parameters"].get("options", {}).get("probe") == "host.disk" for run in runs)

    eventually(begun, 60, "the run that the automation starts")
