"""What becomes of runs that pile up, hang, or are killed: with a real server and worker, real processes, real signals."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Pending, Scheduled

from deployments.control_plane import client_environment
from officeops.process import Command, run, started
from tests.support.control_plane import Plane
from tests.support.ports import eventually
from tests.support.site import PROJECT

pytestmark = [pytest.mark.xdist_group("control_plane"), pytest.mark.timeout(900)]
OFFICEOPS = (sys.executable, "-m", "officeops_cli.main")
HANGS = """
import time
from prefect import flow, tags
from tasks.site import at_work

@flow(name="hangs", persist_result=False)
def hangs():
    with at_work("nothing, for long", wait_minutes=1):
        time.sleep(600)

with tags("officeops", "stack:STACK"):
    print(hangs(return_state=True).state_details.flow_run_id)
"""


@contextmanager
def nobodys_queue(plane: Plane) -> Iterator[str]:
    """A queue from which no worker takes anything."""
    name = f"nobody-{uuid4().hex[:8]}"
    with plane.client() as client:
        queue = client.create_work_queue(name, work_pool_name=f"officeops-{plane.site.name}")
        yield name
        client.delete_work_queue_by_id(queue.id)


def missed(plane: Plane, flow: str, hours: float, *, tags: list[str], queue: str | None = None, **options: object) -> FlowRun:
    """A run that was due before."""
    state = Scheduled(scheduled_time=datetime.now(UTC) - timedelta(hours=hours))
    deployment = plane.deployment(flow)
    with plane.client() as client:
        return client.create_flow_run_from_deployment(
            deployment.id, parameters={"options": options} if options else {}, state=state, tags=tags, work_queue_name=queue
        )


def states(plane: Plane, runs: list[FlowRun]) -> list[str]:
    """As the server has them."""
    with plane.client() as client:
        found = [client.read_flow_run(one.id).state for one in runs]
    return ["waits" if state is not None and state.is_scheduled() else state.name if state else "" for state in found]


def test_of_runs_that_a_schedule_piled_up_one_is_done_and_what_is_not_the_same_waits_on(plane: Plane) -> None:
    made = ["auto-scheduled"]
    with nobodys_queue(plane) as queue:
        same = [missed(plane, "nightly-backup", hours, tags=made, queue=queue, keep_all=True) for hours in (50, 2)]
        other = missed(plane, "nightly-backup", 3, tags=made, queue=queue, format="sql.gz")
        asked_for = missed(plane, "nightly-backup", 3, tags=[], queue=queue, keep_all=True)
        first = plane.ended(missed(plane, "nightly-backup", 26, tags=made, keep_all=True))
        assert first.state_name == "Completed", first.state
        assert states(plane, [*same, other, asked_for]) == ["Cancelled", "Cancelled", "waits", "waits"]
        with plane.client() as client:
            said = client.read_flow_run(same[0].id).state
            for one in (other, asked_for):
                client.delete_flow_run(one.id)
    assert said is not None
    assert first.name in str(said.message)


def test_of_many_missed_runs_of_the_watch_only_one_may_start(plane: Plane) -> None:
    with nobodys_queue(plane) as queue, plane.client() as client:
        runs = [missed(plane, "watch", hours, tags=["auto-scheduled"], queue=queue) for hours in (3, 2, 1)]
        for one in runs:  # as a worker that takes them all at once
            client.set_flow_run_state(one.id, Pending())
        assert states(plane, runs) == ["Pending", "Cancelled", "Cancelled"]
        client.set_flow_run_state(runs[0].id, Cancelled())


def test_a_run_that_hangs_is_stopped_as_timed_out_and_lets_go_of_the_lock(plane: Plane) -> None:
    config = plane.site.config
    environment = {**client_environment(config), "PYTHONPATH": str(PROJECT)}
    with added(config.folder / "runbook.yaml", "runs: {max_hours: 0.001}"):
        done = run(Command((sys.executable, "-c", HANGS.replace("STACK", plane.site.name)), environment, cwd=config.folder), timeout=120)
    with plane.client() as client:
        ended = client.read_flow_run(UUID(done.stdout.decode().split()[-1]))
    assert ended.state_name == "TimedOut", ended.state
    assert ended.state is not None
    assert "It worked for longer than 0.001 hours and was stopped." in str(ended.state.message)
    with plane.site.locked("a test"):
        pass


def test_a_killed_command_is_marked_crashed_by_the_next_run_and_one_that_waits_is_not(plane: Plane) -> None:
    folder = plane.site.home / "runs" / plane.site.name
    environment = {"PYTHONPATH": str(PROJECT), "NO_COLOR": "1"}
    command = Command((*OFFICEOPS, "backup", "--wait", "5", "--json"), environment, cwd=plane.site.config.folder)
    with ExitStack() as lock, ExitStack() as processes:
        lock.enter_context(plane.site.locked("a test"))
        pids, runs = [], list[str]()
        for count in (1, 2):
            # Refused at once without --wait; with it they begin, and wait for this test.
            pids.append(processes.enter_context(started(command, timeout=300)))
            eventually(lambda count=count: len(waiting(folder)) == count, 120, f"the beginning of {count}")
            runs += [name for name in waiting(folder) if name not in runs]
        os.kill(pids[0].pid, 9)
        lock.close()
        pids[1].wait()
    with plane.client() as client:
        killed, lives = (client.read_flow_run(UUID(name)) for name in runs)
    assert (killed.state_name, lives.state_name) == ("Crashed", "Completed"), (killed.state, lives.state)
    assert killed.state is not None
    assert "was killed" in str(killed.state.message)
    assert waiting(folder) == []


def waiting(folder: Path) -> list[str]:
    """Ids of runs that are under way."""
    return [path.name for path in folder.glob("[!.]*")]


@contextmanager
def added(file: Path, text: str) -> Iterator[None]:
    """`text` at the end of the file, for the block."""
    before = file.read_text()
    file.write_text(f"{before}\n{text}\n")
    try:
        yield
    finally:
        file.write_text(before)
