"""What people are told by the control plane: of runs that ended badly, of those that do not start or have died, and of what did not happen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Pending, Running, Scheduled, State

from deployments.automations import Waits, apply_automations
from deployments.changes import Changes
from deployments.channels import apply_channels
from deployments.deploy import apply_deployments
from officeops.config import Config
from tests.support.control_plane import Plane
from tests.support.ports import eventually

pytestmark = pytest.mark.xdist_group("control_plane")
SOON = timedelta(seconds=10)


def told(plane: Plane, path: str, words: str) -> list[str]:
    """What a channel was told, of that which has these words."""
    messages = [json.loads(body) for body in plane.channel.sent_to(path)]
    return [text for one in messages if words in (text := f"{one['title']}\n{one['message']}")]


def told_of(plane: Plane, path: str, run: UUID) -> list[str]:
    """What a channel was told of a run: by its link, since another run of the same minute has the same name."""
    return told(plane, path, f"/flow-run/{run}")


@contextmanager
def broken_target(plane: Plane) -> Iterator[str]:
    """No backup can be made in the block. Gives the place's name."""
    targets = plane.site.config.folder / "targets"
    if targets.exists():
        targets.rename(targets.with_name("aside"))
    targets.write_text("a file where a folder should be")
    try:
        yield str(targets)
    finally:
        targets.unlink()
        if targets.with_name("aside").exists():
            targets.with_name("aside").rename(targets)


def test_people_are_told_of_a_failed_backup_with_what_to_do_and_no_secret(plane: Plane) -> None:
    with broken_target(plane) as place:
        ended = plane.ended(plane.start("nightly-backup"))
        for path in ("/webhook", "/apprise"):
            eventually(lambda path=path: told_of(plane, path, ended.id), 90, f"a message to {path}")
    assert ended.state_name == "Failed"
    for path in ("/webhook", "/apprise"):
        (body,) = told_of(plane, path, ended.id)
        assert f"nightly-backup failed — {ended.name}" in body
        assert "Answers for it: database administrator" in body
        assert place in body
        assert [secret for secret in plane.secrets() if secret in body] == []


def test_a_message_that_is_refused_at_first_is_delivered_by_another_attempt(plane: Plane) -> None:
    with broken_target(plane):
        plane.channel.refusing = 1
        ended = plane.ended(plane.start("nightly-backup"))
        eventually(lambda: told_of(plane, "/webhook", ended.id) and told_of(plane, "/apprise", ended.id), 90, "both messages")
    assert plane.channel.refusing == 0


@contextmanager
def impatient(plane: Plane) -> Iterator[SyncPrefectClient]:
    """The server waits for seconds where it waits for minutes or hours; afterwards as before."""
    config = plane.site.config
    backups = config.runbook.backups.model_copy(update={"max_age_hours": SOON / timedelta(hours=1)})
    hasty = replace(config, runbook=config.runbook.model_copy(update={"backups": backups}))
    with plane.client() as client:
        automate(client, hasty, Waits(late=SOON, pending=SOON, lost=SOON))
        try:
            yield client
        finally:
            automate(client, config, Waits())


def automate(client: SyncPrefectClient, config: Config, waits: Waits) -> None:
    """The automations only."""
    known = Changes(only_plan=True)
    blocks, deployments = apply_channels(client, config, known), apply_deployments(client, config, known)
    assert known.lines == []
    apply_automations(client, config, Changes(), deployments=deployments, blocks=blocks, waits=waits)


def beat(client: SyncPrefectClient, plane: Plane, run: FlowRun) -> None:
    """A sign of life of a run, as its process sends it."""
    related = [{"prefect.resource.id": f"prefect.tag.stack:{plane.site.name}", "prefect.resource.role": "tag"}]
    resource = {"prefect.resource.id": f"prefect.flow-run.{run.id}"}
    event = {"id": str(uuid4()), "occurred": datetime.now(UTC).isoformat(), "event": "prefect.flow-run.heartbeat"}
    client._client.post("/events", json=[{**event, "resource": resource, "related": related, "payload": {}}]).raise_for_status()


def test_the_server_tells_of_late_and_stuck_runs_and_a_missing_backup_and_ends_runs_that_died(plane: Plane) -> None:
    nobody, tags = f"nobody-{uuid4().hex[:8]}", ["officeops", f"stack:{plane.site.name}"]
    drill = plane.deployment("restore-drill")
    with impatient(plane) as client:
        missing = len(told(plane, "/webhook", "no verified backup"))
        queue = client.create_work_queue(nobody, work_pool_name=f"officeops-{plane.site.name}")
        yesterday = Scheduled(scheduled_time=datetime.now(UTC) - timedelta(days=1))
        late = client.create_flow_run_from_deployment(drill.id, state=yesterday, tags=tags, work_queue_name=nobody)
        stuck, died = (run_of(client, drill.flow_id, "restore-drill", tags, state) for state in (Pending(), Running()))
        beat(client, plane, died)
        for name, run in (("late", late), ("stuck", stuck)):
            eventually(lambda run=run: told_of(plane, "/webhook", run.id), 90, f"a message of the {name} run")
        eventually(lambda: client.read_flow_run(died.id).state_name == "Crashed", 60, "the end of the run that died")
        eventually(lambda: len(told(plane, "/webhook", "no verified backup")) > missing, 60, "a message of the missing backup")
        eventually(lambda: told_of(plane, "/webhook", died.id), 90, "a message of the run that died")
        for run in (late, stuck):
            client.delete_flow_run(run.id)
        client.delete_work_queue_by_id(queue.id)
    assert "a run is late" in told_of(plane, "/webhook", late.id)[0]
    assert "does not start" in told_of(plane, "/webhook", stuck.id)[0]
    assert "No sign of life" in told_of(plane, "/webhook", died.id)[0]


def run_of(client: SyncPrefectClient, flow_id: UUID, name: str, tags: list[str], state: State[Any]) -> FlowRun:
    """A run that no worker knows of."""
    wanted = {"type": state.type.value, "name": state.name}
    run = {"flow_id": str(flow_id), "name": f"{name} of nobody", "tags": tags, "state": wanted}
    answer = client._client.post("/flow_runs/", json=run)
    answer.raise_for_status()
    return FlowRun.model_validate(answer.json())
