"""What people are told by the control plane: of runs that ended badly, of those that do not start or have died, and of what did not happen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.states import Pending, Running, Scheduled, State, Suspended

from deployments.automations import Waits, apply_automations
from deployments.changes import Changes
from deployments.channels import apply_channels
from deployments.deploy import apply_deployments
from officeops.config import Config
from tests.support.control_plane import Plane
from tests.support.ports import eventually

pytestmark = [pytest.mark.xdist_group("control_plane"), pytest.mark.timeout(900)]
SOON = timedelta(seconds=10)
PATIENCE = 240  # seconds, of a machine that has other work


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


def test_people_are_told_of_a_failed_backup_by_another_attempt_when_one_is_refused_and_no_secret_with_it(plane: Plane) -> None:
    plane.channel.refusing = 1
    with broken_target(plane) as place:
        ended = plane.ended(plane.start("nightly-backup"))
        for path in ("/webhook", "/apprise"):
            eventually(lambda path=path: told_of(plane, path, ended.id), PATIENCE, f"a message to {path}")
    assert (ended.state_name, plane.channel.refusing) == ("Failed", 0)
    for path in ("/webhook", "/apprise"):
        (body,) = told_of(plane, path, ended.id)
        assert f"nightly-backup failed — {ended.name}" in body
        assert "Answers for it: database administrator" in body
        assert place in body
        assert [secret for secret in plane.secrets() if secret in body] == []


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


def test_the_server_tells_of_late_and_stuck_runs_and_a_missing_backup_and_ends_runs_that_died(plane: Plane) -> None:
    nobody, tags = f"nobody-{uuid4().hex[:8]}", ["officeops", f"stack:{plane.site.name}"]
    drill, lost = plane.deployment("restore-drill"), plane.deployment("lost")
    with impatient(plane) as client:
        missing = len(told(plane, "/webhook", "no verified backup"))
        queue = client.create_work_queue(nobody, work_pool_name=f"officeops-{plane.site.name}")
        yesterday = Scheduled(scheduled_time=datetime.now(UTC) - timedelta(days=1))
        late = client.create_flow_run_from_deployment(drill.id, state=yesterday, tags=tags, work_queue_name=nobody)
        stuck = run_of(client, drill.flow_id, [*tags, "role:development_lead"], Pending())
        died, waits = (run_of(client, drill.flow_id, tags, state) for state in (Running(), Suspended()))
        for one in (waits, died):
            plane.beat(one.id)  # of the one that waits: sent just when it was suspended

        def looked_after() -> bool:
            runs = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate({"deployment_id": {"any_": [lost.id]}}))
            return any(one.parameters["options"]["run"] == str(waits.id) and one.state and one.state.is_completed() for one in runs)

        for name, run in (("late", late), ("stuck", stuck)):
            eventually(lambda run=run: told_of(plane, "/webhook", run.id), PATIENCE, f"a message of the {name} run")
        eventually(lambda: client.read_flow_run(died.id).state_name == "Crashed", PATIENCE, "the end of the run that died")
        eventually(looked_after, PATIENCE, "a look at the run that waits")
        eventually(lambda: len(told(plane, "/webhook", "no verified backup")) > missing, PATIENCE, "a message of the missing backup")
        eventually(lambda: told_of(plane, "/webhook", died.id), PATIENCE, "a message of the run that died")
        assert client.read_flow_run(waits.id).state_name == "Suspended"
        for run in (late, stuck, waits):
            client.delete_flow_run(run.id)
        client.delete_work_queue_by_id(queue.id)
    assert "a run is late" in told_of(plane, "/webhook", late.id)[0]
    assert "Answers for it: database administrator" in told_of(plane, "/webhook", late.id)[0]
    assert "does not start" in told_of(plane, "/webhook", stuck.id)[0]
    assert "Answers for it: development lead" in told_of(plane, "/webhook", stuck.id)[0]
    assert "No sign of life" in told_of(plane, "/webhook", died.id)[0]


def test_a_channel_that_did_not_take_what_the_server_told_is_asked_again(plane: Plane) -> None:
    tags = ["officeops", f"stack:{plane.site.name}", "role:database_administrator"]
    plane.channel.refusing = 1
    with plane.client() as client:
        waits = run_of(client, plane.deployment("restore").flow_id, tags, Suspended())
        for path in ("/webhook", "/apprise"):
            eventually(lambda path=path: told_of(plane, path, waits.id), PATIENCE, f"a message to {path}")
        client.delete_flow_run(waits.id)
    bodies = [body for path in ("/webhook", "/apprise") for body in told_of(plane, path, waits.id)]
    again, first = sorted(bodies, key=lambda body: "told again" not in body)
    for body in (again, first):
        assert "a run waits for an approval" in body
        assert "Answers for it: database administrator" in body
        assert re.search(r"^Since: 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d JST$", body, re.MULTILINE), body
    assert "told again" in again
    assert "told again" not in first


def run_of(client: SyncPrefectClient, flow_id: UUID, tags: list[str], state: State[Any]) -> FlowRun:
    """A run that no worker knows of."""
    wanted = {"type": state.type.value, "name": state.name}
    run = {"flow_id": str(flow_id), "name": "a run of nobody", "tags": tags, "state": wanted}
    answer = client._client.post("/flow_runs/", json=run)
    answer.raise_for_status()
    return FlowRun.model_validate(answer.json())
