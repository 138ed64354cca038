"""The control plane as code, on a real server with a real worker."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.schedules import CronSchedule

from tests.support.control_plane import Plane
from tests.support.ports import eventually

pytestmark = pytest.mark.xdist_group("control_plane")


def next_nights(plane: Plane) -> list[datetime]:
    """When the nightly backup is going to run."""
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])))
    with plane.client() as client:
        deployment = client.read_deployment_by_name(f"nightly-backup/{plane.site.name}")
        runs = client.read_flow_runs(flow_run_filter=wanted)
    return [run.expected_start_time for run in runs if run.deployment_id == deployment.id and run.expected_start_time]


def test_the_first_apply_says_what_it_made(plane: Plane) -> None:
    kinds = {line.split(" ")[0] for line in plane.created}
    assert kinds == {"work", "deployment", "automation"}


def test_the_nightly_backup_is_scheduled_at_two_in_the_configured_zone(plane: Plane) -> None:
    eventually(lambda: next_nights(plane), 60, "a scheduled run")
    local = [moment.astimezone(ZoneInfo("Asia/Tokyo")) for moment in next_nights(plane)]
    assert {(moment.hour, moment.minute) for moment in local} == {(2, 0)}


def test_applied_again_nothing_changes_and_what_an_operator_paused_stays_paused(plane: Plane) -> None:
    name = f"restore-drill/{plane.site.name}"
    with plane.client() as client:
        deployment = client.read_deployment_by_name(name)
        client.update_deployment_schedule(deployment.id, deployment.schedules[0].id, active=False)
    # Sets come in another order in each process.
    assert [plane.apply(PYTHONHASHSEED=seed) for seed in "123"] == [["Nothing to change."]] * 3
    with plane.client() as client:
        assert [schedule.active for schedule in client.read_deployment_by_name(name).schedules] == [False]


def test_what_the_files_no_longer_have_is_removed_and_nothing_of_others(plane: Plane) -> None:
    with plane.client() as client:
        ours = client.read_deployment_by_name(f"nightly-backup/{plane.site.name}")
        client.create_deployment_schedules(ours.id, [(CronSchedule(cron="0 5 * * *"), True)])
        flow = client.create_flow_from_name("of-an-older-version")
        client.create_deployment(flow, plane.site.name, entrypoint="flows/gone.py:gone", tags=["officeops"])
        client.create_deployment(flow, "theirs", entrypoint="flows/theirs.py:theirs", tags=["theirs"])
    plane.apply()
    with plane.client() as client:
        deployments = {deployment.entrypoint: deployment for deployment in client.read_deployments()}
    assert "flows/gone.py:gone" not in deployments
    assert "flows/theirs.py:theirs" in deployments
    assert [schedule.slug for schedule in deployments["flows/backup.py:nightly_backup"].schedules] == ["nightly"]


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
    assert [{artifact.type for artifact in found} for found in artifacts] == [{"markdown", "table"}] * 2


def test_people_are_told_of_a_failed_backup_and_no_secret_with_it(plane: Plane) -> None:
    targets = plane.site.config.folder / "targets"
    if targets.exists():
        targets.rename(targets.with_name("aside"))
    targets.write_text("a file where a folder should be")
    try:
        ended = plane.ended(plane.start("nightly-backup"))
        for path in ("/webhook", "/apprise"):
            eventually(lambda path=path: told(plane, path, ended.id), 60, f"a message to {path}")
    finally:
        targets.unlink()
        if targets.with_name("aside").exists():
            targets.with_name("aside").rename(targets)
    assert ended.state_name == "Failed"
    for path in ("/webhook", "/apprise"):
        (body,) = told(plane, path, ended.id)
        assert "nightly-backup" in body
        assert str(targets) in body
        assert [secret for secret in plane.secrets() if secret in body] == []


def told(plane: Plane, path: str, run: UUID) -> list[str]:
    """What a channel was told of a run: by its link, since another run of the same minute has the same name."""
    return [body for body in plane.channel.sent_to(path) if f"/flow-run/{run}" in body]
