"""Runs that ask people first, on a real server with a real worker: suspended with a form, resumed, rejected, asked anew, expired."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from prefect.client.schemas.objects import FlowRun

from deployments.approvals import expiry
from officeops.host import host_name
from officeops.lock import lock_holder
from tests.support.asked import answer, inputs, key_of, reports, suspended
from tests.support.control_plane import Plane, run_sql
from tests.support.ports import eventually
from tests.support.postgres import Running

pytestmark = pytest.mark.xdist_group("control_plane")
DATABASE = "control_plane_office"


@pytest.fixture(scope="module")
def whole(plane: Plane) -> str:
    """Id of a backup of the whole office, made by the command."""
    made = plane.officeops("backup", "--json")
    assert made.status == 0, made.stderr
    return str(made.json["id"])


@pytest.fixture
def backup(whole: str, postgres: Running) -> Iterator[str]:
    """The same; the office has lost most of its rows since then."""
    run_sql(postgres, DATABASE, "DELETE FROM public.notes WHERE id > 10")
    yield whole
    run_sql(postgres, DATABASE, "INSERT INTO public.notes SELECT n, 'メモ ' || n FROM generate_series(1, 1000) AS n ON CONFLICT DO NOTHING")


def form(plane: Plane, run: FlowRun) -> dict[str, dict[str, object]]:
    """Its fields."""
    found = inputs(plane, run)
    return json.loads(found["schema"])["properties"] if "schema" in found else {}  # type: ignore[no-any-return]


def rows(postgres: Running) -> object:
    return run_sql(postgres, DATABASE, "SELECT count(*) FROM public.notes")[0][0]


def test_a_restore_waits_for_an_answer_holding_nothing_and_once_approved_is_done_once(plane: Plane, postgres: Running, backup: str) -> None:
    asked = suspended(plane, plane.start("restore", backup=backup, why="a test"))
    assert list(form(plane, asked)) != []
    assert sorted(form(plane, asked), key=lambda name: form(plane, asked)[name]["position"]) == ["decision", "who", "reason"]
    assert backup in inputs(plane, asked)["description"]
    assert rows(postgres) == 10
    eventually(lambda: lock_holder(plane.site.home, plane.site.name) is None, 20, "the lock's release")
    with plane.client() as client:
        limits = {one.name: one.concurrency_limit for one in client.read_work_queues(work_pool_name=f"officeops-{plane.site.name}")}
    assert limits[host_name(plane.site.config.settings)] == 1
    # The worker's only slot is free: another run takes place meanwhile.
    assert plane.ended(plane.start("restore", backup=backup, dry_run=True), 150).state_name == "Completed"

    assert answer(plane, asked, "perhaps", "no such choice") == "REJECT"
    assert answer(plane, asked, "approve", "rows were lost") == "ACCEPT"
    ended = plane.ended(asked, 150)
    assert (ended.state_name, rows(postgres)) == ("Completed", 1000)
    assert f"backup:{backup}" in ended.tags
    assert ended.name.startswith(f"restore {backup} ")
    (approval,) = [one for one in plane.site.ledger.approvals() if one.run == str(asked.id)]
    assert (approval.decision, approval.who, approval.why) == ("approve", "Sato", "rows were lost")
    done = [one for one in plane.site.ledger.operations("restore", outcome="done") if one.facts.get("source") == backup]
    assert len(done) == 1
    assert "a test" in reports(plane, ended.id)["restore"]

    tried = plane.ended(plane.start("restore-undo", dry_run=True), 150)
    assert tried.state_name == "Completed"
    assert "becomes what `control_plane_office_prev_" in reports(plane, tried.id)["restore-undo-plan"]
    assert rows(postgres) == 1000


def test_a_rejected_run_is_cancelled_and_says_by_whom_and_why(plane: Plane, postgres: Running, backup: str) -> None:
    asked = suspended(plane, plane.start("restore", backup=backup))
    assert answer(plane, asked, "reject", "not today") == "ACCEPT"
    ended = plane.ended(asked, 150)
    assert ended.state is not None
    assert (ended.state.type.value, ended.state.message) == ("CANCELLED", "Rejected by Sato: not today. Nothing was changed.")
    assert rows(postgres) == 10
    assert "not today" in reports(plane, ended.id)["restore"]


def test_what_changed_while_nobody_answered_is_asked_about_anew(plane: Plane, postgres: Running, backup: str) -> None:
    asked = suspended(plane, plane.start("restore", backup="latest"))
    newer = plane.officeops("backup", "--json").json["id"]
    assert answer(plane, asked, "approve", "rows were lost") == "ACCEPT"
    anew = suspended(plane, asked, besides=key_of(asked))
    assert "Asked anew" in inputs(plane, anew)["description"]
    assert newer in inputs(plane, anew)["description"]
    assert rows(postgres) == 10
    assert answer(plane, anew, "reject", "that is another backup") == "ACCEPT"
    assert plane.ended(anew, 150).state_name == "Cancelled"


def test_without_an_answer_the_run_is_cancelled_in_time_and_cannot_be_approved_any_more(
    plane: Plane, postgres: Running, backup: str
) -> None:
    known = plane.site.config
    soon = known.runbook.model_copy(update={"approvals": known.runbook.approvals.model_copy(update={"expires_hours": 12 / 3600})})
    with plane.client() as client:
        (automation,) = client.read_automations_by_name(expiry(known).name)
        client.update_automation(automation.id, expiry(replace(known, runbook=soon)))
    try:
        asked = suspended(plane, plane.start("restore", backup=backup))
        plane.beat(asked.id)  # the last sign of life of its process: it is no answer
        ended = plane.ended(asked, 150)
    finally:
        with plane.client() as client:
            client.update_automation(automation.id, expiry(known))
    assert ended.state is not None
    assert ended.state.type.value == "CANCELLED"
    assert "Nothing was changed" in str(ended.state.message)
    assert answer(plane, ended, "approve", "too late") == "ABORT"
    assert rows(postgres) == 10
