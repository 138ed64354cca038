"""The control plane as code, on a real server with a real worker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from prefect.automations import AutomationCore
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound

from deployments import deploy
from deployments.control_plane import NOTHING
from deployments.wanted import filled
from officeops.errors import OfficeOpsError
from officeops.host import host_name
from officeops.notify import ROLES
from tests.support.control_plane import Plane
from tests.support.ports import eventually

pytestmark = [pytest.mark.xdist_group("control_plane"), pytest.mark.timeout(900)]
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
    assert plane.plan() == []


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
        used = {one.work_queue_name for one in client.read_deployments() if limited(one) == "ENQUEUE"}
    assert {name: queues[name] for name in (host, f"{host}.notices")} == {host: 1, f"{host}.notices": None}
    assert used == {host}
    assert plane.deployment("notify").work_queue_name == f"{host}.notices"


def test_every_run_of_the_stack_has_somebody_who_answers_for_it(plane: Plane) -> None:
    with plane.client() as client:
        tags = {one.name: set(one.tags) for one in client.read_deployments()}
    ours = {name: found for name, found in tags.items() if f"stack:{plane.site.name}" in found}
    assert len(ours) > 10
    assert [name for name, found in ours.items() if len(found & {f"role:{role}" for role in ROLES}) != 1] == []


def limited(deployment: DeploymentResponse) -> str:
    """What becomes of a run of it while another is under way."""
    options = deployment.concurrency_options
    return options.collision_strategy.value if options else ""


def test_the_nightly_backup_is_scheduled_at_two_in_the_configured_zone(plane: Plane) -> None:
    eventually(lambda: next_nights(plane), 60, "a scheduled run")
    local = [moment.astimezone(ZoneInfo("Asia/Tokyo")) for moment in next_nights(plane)]
    assert {(moment.hour, moment.minute) for moment in local} == {(2, 0)}


def test_applied_again_nothing_changes_whatever_the_order_of_a_set(plane: Plane) -> None:
    assert [plane.command(command, PYTHONHASHSEED=seed) for command, seed in (("apply", "1"), ("plan", "2"))] == [[NOTHING]] * 2


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
    assert plane.plan() == []


def test_what_an_operator_paused_stays_paused_when_a_deploy_fails_half_way(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    paused, broken = plane.deployment("volume-backup"), plane.deployment("restore-undo")
    file = filled(plane.site.config)
    for one in file["deployments"]:
        if one["name"] == broken.name:
            one["concurrency_limit"] = {"limit": 1, "collision_strategy": "NONE THAT THERE IS"}
    monkeypatch.setattr(deploy, "filled", lambda _config: file)
    with plane.client() as client:
        client.pause_deployment(paused.id)
        client.update_deployment_schedule(paused.id, paused.schedules[0].id, active=False)
        client.update_deployment(paused.id, DeploymentUpdate(description=QUIET))
        with pytest.raises(OfficeOpsError, match="Prefect's deploy failed"):
            plane.apply()
        after = plane.deployment("volume-backup")
        assert after.description != QUIET, "it was deployed before the other failed"
        assert (after.paused, [one.active for one in after.schedules]) == (True, [False])
        client.resume_deployment(paused.id)
        client.update_deployment_schedule(paused.id, after.schedules[0].id, active=True)


def make_due(plane: Plane, deployment: DeploymentResponse) -> FlowRun:
    """A run that a schedule has made, due since an hour; no worker takes it."""
    with plane.client() as client:
        found: list[FlowRun] = []

        def scheduled() -> bool:
            wanted = FlowRunFilter.model_validate({"deployment_id": {"any_": [deployment.id]}, "tags": {"all_": ["auto-scheduled"]}})
            found[:] = [one for one in client.read_flow_runs(flow_run_filter=wanted) if one.state and one.state.is_scheduled()]
            return bool(found)

        eventually(scheduled, 60, "a scheduled run")
        plane.sql(
            "UPDATE public.flow_run SET work_queue_id = NULL, expected_start_time = now() - interval '1 hour', "
            f"next_scheduled_start_time = now() - interval '1 hour' WHERE id = '{found[0].id}'"
        )
        return client.read_flow_run(found[0].id)


def test_a_run_that_is_due_survives_a_deploy_and_the_end_of_another_schedule(plane: Plane) -> None:
    deployment = plane.deployment("nightly-backup")
    due = make_due(plane, deployment)
    with plane.client() as client:
        client.update_deployment(deployment.id, DeploymentUpdate(description=QUIET))
        assert len(plane.apply()) == 1
        assert client.read_flow_run(due.id).expected_start_time == due.expected_start_time
        client.create_deployment_schedules(deployment.id, [(CronSchedule(cron="0 5 * * *"), True)])
        (said,) = plane.apply()
        assert "without the schedule" in said
        wanted = FlowRunFilter.model_validate({"deployment_id": {"any_": [deployment.id]}, "tags": {"all_": ["catch-up"]}})
        (copy,) = client.read_flow_runs(flow_run_filter=wanted)
        assert (copy.name, copy.expected_start_time, copy.parameters) == (due.name, due.expected_start_time, due.parameters)
        client.delete_flow_run(copy.id)
        with pytest.raises(ObjectNotFound):
            client.read_flow_run(due.id)


def test_two_applies_at_once_make_nothing_twice_and_what_is_twice_there_goes(plane: Plane) -> None:
    prefix = f"{plane.site.name}: "
    with plane.client() as client:
        named = {one.name: one for one in client.read_automations() if one.name.startswith(prefix)}
        gone = min(named)
        twin = AutomationCore.model_validate(named[max(named)].model_dump(exclude={"id"}))
        client.delete_automation(named[gone].id)
        client.create_automation(twin)
        with ThreadPoolExecutor(2) as both:
            said = [line for lines in both.map(plane.command, ["apply", "apply"]) for line in lines]
        assert sorted(said) == sorted(
            [f"automation {gone}: created", f"automation {twin.name}: removed: there is another of this name", NOTHING]
        )
        there = [one for one in client.read_automations() if one.name.startswith(prefix)]
    assert sorted(one.name for one in there) == sorted(named)
    assert named[twin.name].id in {one.id for one in there}, "the older one stays"


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
    host = host_name(plane.site.config.settings)
    said = [str(artifact.description) for found in artifacts for artifact in found if artifact.type != "image"]
    assert all(one.endswith(f"({plane.site.name} on {host})") for one in said), said
