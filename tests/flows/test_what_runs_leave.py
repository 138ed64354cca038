"""What runs of the worker leave to read: dry runs their plan, stopped ones too how they ended; and whom an archive asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling

from officeops.lock import stack_lock
from tests.support.asked import answer, inputs, reports, suspended
from tests.support.control_plane import Plane, run_sql
from tests.support.ports import eventually
from tests.support.postgres import Running

pytestmark = pytest.mark.xdist_group("control_plane")
DATABASE = "control_plane_office"
RUNBOOK = """
archives:
  - {name: old, table: visits, age_column: at, older_than_days: 30, grace_days: 0}
approvals: {actions: [archive]}
"""


@pytest.fixture
def visits(plane: Plane, postgres: Running) -> Iterator[None]:
    """A table with nine old rows and a young one, and a policy that asks first, for as long as a test takes."""
    runbook = plane.site.config.folder / "runbook.yaml"
    before = runbook.read_text()
    runbook.write_text(before + RUNBOOK)
    table = "CREATE TABLE public.visits AS SELECT n AS id, now()::date - n * 20 AS at FROM generate_series(1, 10) AS n"
    run_sql(postgres, DATABASE, f"{table}; ALTER TABLE public.visits ADD PRIMARY KEY (id)")
    try:
        yield
    finally:
        runbook.write_text(before)
        run_sql(postgres, DATABASE, "DROP TABLE public.visits; DROP SCHEMA IF EXISTS officeops CASCADE")


def test_an_archive_shows_its_plan_and_asks_before_rows_leave_and_their_return_can_be_tried(
    plane: Plane, postgres: Running, visits: None
) -> None:
    def there() -> object:
        return run_sql(postgres, DATABASE, "SELECT count(*) FROM public.visits")[0][0]

    planned = plane.ended(plane.start("archive", dry_run=True))
    plan = reports(plane, planned.id)["archive-plan"]
    assert "| public.visits | 9 |" in plan
    assert 'DELETE FROM "public"."visits"' in plan

    asked = suspended(plane, plane.start("archive", prove=True))
    assert "| old | 9 |" in inputs(plane, asked)["description"]
    assert there() == 10
    assert answer(plane, asked, "approve", "nobody reads them") == "ACCEPT"
    assert plane.ended(asked).state_name == "Completed"
    assert there() == 1

    batch = plane.officeops("archives", "--json").json["batches"][0]["id"]
    tried = plane.ended(plane.start("unarchive", batch=batch, dry_run=True))
    assert "| public.visits | 9 |" in reports(plane, tried.id)["unarchive-plan"]
    assert there() == 1


def test_a_run_that_is_cancelled_leaves_its_report(plane: Plane) -> None:
    with stack_lock(plane.site.home, plane.site.name, "counting chairs"), plane.client() as client:
        run = plane.start("restore-drill")

        def waits() -> bool:
            state = client.read_flow_run(run.id).state
            return state is not None and state.type is StateType.RUNNING

        eventually(waits, 120, "the run's start")
        client.set_flow_run_state(run.id, Cancelling())
        ended = plane.ended(run)
    assert ended.state is not None
    assert ended.state.type is StateType.CANCELLED
    report = reports(plane, ended.id)["drill"]
    assert report.startswith("## drill: stopped")
    assert "was cancelled, or its process was asked to end" in report
