"""The weekly flow on a real server, by its worker and by the command."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from officeops.logs.report import last_report
from officeops.probes.plane import Server
from tests.support.asked import reports
from tests.support.control_plane import Plane

pytestmark = pytest.mark.xdist_group("control_plane")


def test_the_week_is_exported_summed_up_and_shown(plane: Plane) -> None:
    log = plane.site.home / "stack" / "logs" / "caddy.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} ERROR the door jams\n")
    run = plane.ended(plane.start("log-rotation"))
    assert run.state is not None
    assert run.state.is_completed(), run.state.message
    found = last_report(plane.site)
    assert found is not None
    assert {one.service: one.errors for one in found.services}["caddy"] == 1
    assert all(not part.waits for part in plane.site.ledger.log_parts())
    keys = [f"{name}-{plane.site.name}".replace("_", "-") for name in ("log-rotation", "log-summary")]
    shown = Server(plane.site, timeout=30).post("/artifacts/latest/filter", {"artifacts": {"key": {"any_": keys}}})
    assert {one["key"] for one in shown} == set(keys)
    assert all("ERROR the door jams" in one["data"] for one in shown)


def test_a_dry_run_changes_nothing(plane: Plane) -> None:
    before = plane.site.ledger.log_parts()
    run = plane.ended(plane.start("log-rotation", dry_run=True))
    assert run.state is not None
    assert run.state.is_completed(), run.state.message
    assert plane.site.ledger.log_parts() == before
    assert "### Exported logs" in reports(plane, run.id)["log-rotation-plan"]


def test_where_nothing_is_outdated_nothing_is_made_anew(plane: Plane) -> None:
    before = plane.site.ledger.releases()
    run = plane.ended(plane.start("log-fix"))
    assert run.state is not None
    assert run.state.is_completed(), run.state.message
    assert plane.site.ledger.releases() == before
