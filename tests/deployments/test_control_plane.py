"""The control plane as code, on a real server with a real worker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.states import Scheduled

from officeops.host import host_name
from tests.support.control_plane import Plane
from tests.support.ports import eventually

pytestmark = pytest.mark.xdist_group("control_plane")
QUIET = "an operator's own words"


def next_nights(plane: Plane) -> list[datetime]:
    """When the nightly backup is going to run."""
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])))
    nightly = plane.deployment("nightly-backup")
    with plane.client() as client:
        runs = client.read_flow_runs(flow_run_filter=wanted)
    return [run.expected_start_time for run in runs if run.deployment_id == nightly.id and run.expected_start_time]


def test_the_first_apply_says_what_it_made_and_nothing_is_left_to_plan(plane: Plane) -> None:
    kinds = {" ".join(line.split(" ")[:2]) if line.startswith("work") else line.split(" ")[0] for line in plane.created}
    assert kinds == {"work pool", "work queue", "variable", "block", "deployment", "automation"}
    assert all("would be" not in line for line in plane.created)
    assert plane.plan() == ["Nothing to change."]


def test_every_flow_is_deployed_with_a_name_for_people_and_its_stack_and_says_what_it_does(plane: Plane) -> None:
    with plane.client() as client:
        found = client.read_deployments()
    assert all(one.name.endswith(f"({plane.site.name})") and one.name[0].isupper() for one in found)
    assert all(one.description and "officeops" in one.tags for one in found)
    assert len({one.name for one in found}) == len(found)


def test_runs_wait_in_the_queue_of_this_host_one_at_a_time_and_messages_never_behind_them(plane: Plane) -> None:
    host = host_name(plane.site.config.settings)
    with plane.client() as client:
        queues = {one.name: one.concurrency_limit for one in client.read_work_queues(work_pool_name=f"officeops-{plane.site.name}")}
        used = {one.work_queue_name for one in client.read_deployments() if one.concurrency_options}
    assert {name: queues[name] for name in (host, f"{host}.notices")} == {host: 1, f"{host}.notices": None}
    assert used == {host}
    assert plane.deployment("notify").work_queue_name == f"{host}.notices"


def test_the_nightly_backup_is_scheduled_at_two_in_the_configured_zone(plane: Plane) -> None:
    eventually(lambda: next_nights(plane), 60, "a scheduled run")
    local = [moment.astimezone(ZoneInfo("Asia/Tokyo")) for moment in next_nights(plane)]
    assert {(moment.hour, moment.minute) for moment in local} == {(2, 0)}


def test_applied_again_nothing_changes_whatever_the_order_of_a_set(plane: Plane) -> None:
    assert [plane.apply(PYTHONHASHSEED=seed) for seed in "12"] == [["Nothing to change."]] * 2


def test_a_plan_says_what_an_apply_would_do_and_does_nothing(plane: Plane) -> None:
    drill = plane.deployment("restore-drill")
    with plane.client() as client:
        client.update_deployment(drill.id, DeploymentUpdate(description=QUIET))
    said = f"deployment restore-drill/{drill.name}: {{}}changed (description)"
    assert plane.plan() == plane.plan() == [said.format("would be ")]
    assert plane.apply() == [said.format("")]
    assert plane.deployment("restore-drill").description != QUIET


def test_what_an_operator_paused_stays_paused_although_the_deployment_changes(plane: Plane) -> None:
    drill, volumes = plane.deployment("restore-drill"), plane.deployment("volume-backup")
    with plane.client() as client:
        client.update_deployment_schedule(drill.id, drill.schedules[0].id, active=False)
        client.pause_deployment(volumes.id)
        for one in (drill, volumes):
            client.update_deployment(one.id, DeploymentUpdate(description=QUIET))
        assert len(plane.apply()) == 2
        assert [schedule.active for schedule in plane.deployment("restore-drill").schedules] == [False]
        assert plane.deployment("volume-backup").paused
        client.resume_deployment(volumes.id)


def test_choices_that_runs_put_into_a_form_are_no_difference(plane: Plane) -> None:
    restore = plane.deployment("restore")
    schema = restore.parameter_openapi_schema
    assert schema is not None
    schema["definitions"]["RestoreOptions"]["properties"]["backup"]["enum"] = ["20261125T0200Z-1", "latest"]
    with plane.client() as client:
        client.update_deployment(restore.id, DeploymentUpdate(parameter_openapi_schema=schema))
    assert plane.plan() == ["Nothing to change."]


def test_a_run_that_was_due_is_put_back_when_a_deploy_removed_it(plane: Plane) -> None:
    deployment, due = plane.deployment("restore-undo"), datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    with plane.client() as client:
        client.create_flow_run_from_deployment(
            deployment.id, state=Scheduled(scheduled_time=due), parameters={"options": {"wait_minutes": 7}}
        )
        client.update_deployment(deployment.id, DeploymentUpdate(description=QUIET))
        plane.apply()
        waiting = [one for one in client.read_flow_runs() if one.deployment_id == deployment.id]
    assert [(one.expected_start_time, one.parameters) for one in waiting] == [(due, {"options": {"wait_minutes": 7}})]
    with plane.client() as client:
        client.delete_flow_run(waiting[0].id)


def test_what_the_files_no_longer_have_is_removed_and_nothing_of_others(plane: Plane) -> None:
    ours = plane.deployment("nightly-backup")
    with plane.client() as client:
        client.create_deployment_schedules(ours.id, [(CronSchedule(cron="0 5 * * *"), True)])
        flow = client.create_flow_from_name("of-an-older-version")
        for name, stack in (("Gone", plane.site.name), ("Theirs", "another_office")):
            client.create_deployment(flow, name, entrypoint=f"flows/{name}.py:x", tags=["officeops", f"stack:{stack}"])
    plane.apply()
    with plane.client() as client:
        entrypoints = {deployment.entrypoint for deployment in client.read_deployments()}
    assert "flows/Gone.py:x" not in entrypoints
    assert "flows/Theirs.py:x" in entrypoints
    assert [schedule.slug for schedule in plane.deployment("nightly-backup").schedules] == ["nightly"]


def test_the_worker_runs_one_after_the_other_and_each_leaves_its_report(plane: Plane) -> None:
    runs = [plane.start("nightly-backup", keep_all=True), plane.start("nightly-backup", format="sql.gz")]
    ended = [plane.ended(run) for run in runs]
    assert [run.state_name for run in ended] == ["Completed", "Completed"]
    assert all(run.name.startswith("backup ") for run in ended)
    first, second = sorted(ended, key=lambda run: str(run.start_time))
    assert first.end_time is not None
    assert second.start_time is not None
    assert first.end_time <= second.start_time
    with plane.client() as client:
        artifacts = [client.read_artifacts(flow_run_filter=FlowRunFilter(id={"any_": [run.id]})) for run in ended]
    assert [{artifact.type for artifact in found} for found in artifacts] == [{"markdown", "table", "image"}] * 2
