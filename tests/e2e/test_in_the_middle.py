"""What happens in the middle of a deploy that the worker does: the worker is killed, the Prefect server is, a nightly backup is due."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from prefect.client.schemas.objects import FlowRun

from deployments import control_plane
from deployments.control_plane import SERVER, WORKER
from officeops.releases.rollout import KIND, reconcile
from officeops.stack.local.supervisor import Supervisor
from tests.e2e.conftest import Office
from tests.support.ports import eventually
from tests.support.releases import Knocking, back_to_start, build, require_sound

pytestmark = [pytest.mark.xdist_group("e2e"), pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def second_serves(office: Office) -> None:
    """Before each test."""
    back_to_start(office.site, build(office.site, office.second))


@pytest.fixture(scope="module", autouse=True)
def serves_again(office: Office) -> Iterator[None]:
    """And after all of them, by a command: what the forms offer is brought up to date."""
    yield
    assert office.plane.officeops("deploy", office.second).status == 0


@pytest.fixture
def served(office: Office) -> Iterator[None]:
    """Nobody at the front door sees a failure meanwhile."""
    with Knocking(office.site) as knocking:
        yield
    assert knocking.failures == []


def deploying(office: Office, state: str) -> FlowRun:
    """A deploy of the first release by the worker, which has come to that state of the journal."""
    run = office.start("deploy", ref=office.first)
    eventually(lambda: any(one.state == state for one in office.site.ledger.operations(KIND)), 120, f"the deploy's {state}")
    return run


def kill(office: Office, name: str) -> None:
    """As a lack of memory would; supervisor starts it again."""
    pid = Supervisor(office.site.home, "prefect").status_of(name).pid
    assert pid is not None
    os.kill(pid, 9)


@pytest.mark.usefixtures("served")
def test_a_worker_that_is_killed_leaves_what_the_next_command_ends(office: Office) -> None:
    run = deploying(office, "bake")
    kill(office, WORKER)
    eventually(lambda: Supervisor(office.site.home, "prefect").status_of(WORKER).pid, 60, "the worker's return")
    # Its run ended with it, or went on without it: either way the lock is free sooner or later, and then everything is in order.
    with office.site.locked("reconcile", wait_s=60):
        reconcile(office.site)
    deployed = office.site.stack.deployed()
    assert deployed is not None
    require_sound(office.site, deployed.sha)
    following = office.plane.ended(office.start("deploy", ref=office.first))
    assert following.state_name == "Completed", following.state
    require_sound(office.site, office.first)
    ended = office.plane.ended(run)
    assert ended.state_name in ("Completed", "Crashed"), ended.state


@pytest.mark.usefixtures("served")
def test_a_server_that_is_killed_leaves_one_release_in_charge(office: Office) -> None:
    run = deploying(office, "bake")
    kill(office, SERVER)
    eventually(lambda: control_plane.is_ready(office.site.config.settings), 240, "the server's return")
    ended = office.plane.ended(run)
    assert ended.state_name == "Completed", ended.state
    require_sound(office.site, office.first)


def test_a_nightly_backup_that_is_due_waits_for_the_deploy_and_a_second_deploy_for_both(office: Office) -> None:
    with office.site.locked("a deploy of a test"):
        backup = office.start("nightly_backup")
        eventually(lambda: _running(office, backup), 120, "the backup's begin")
        refused = office.plane.officeops("deploy", office.first)
        assert (refused.status, "a deploy of a test" in refused.stderr) == (3, True), refused.stderr
        assert _running(office, backup)
    waited = office.plane.officeops("deploy", office.first, "--wait", "5", "--strategy", "recreate", "--json")
    assert waited.status == 0, waited.stderr
    assert (waited.json["strategy"], waited.json["to"]) == ("recreate", office.first)
    assert 0 < waited.json["downtime_s"] < 60
    assert office.plane.ended(backup).state_name == "Completed"


def _running(office: Office, run: FlowRun) -> bool:
    with office.plane.client() as client:
        state = client.read_flow_run(run.id).state
    return state is not None and state.is_running()
