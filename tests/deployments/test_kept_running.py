"""The control plane loses nothing when a part of it is killed, and is behind the front door, by TLS."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import websockets
from prefect.client.schemas.filters import LogFilter
from prefect.states import Scheduled

from deployments import control_plane
from deployments.automations import comparable
from deployments.control_plane import POSTGRES, SERVER, WORKER
from officeops.process import Command, started
from officeops.stack.local.programs import caddy
from officeops.stack.local.supervisor import Supervisor
from tests.support.backend import CADDYFILE
from tests.support.control_plane import Plane
from tests.support.ports import eventually, free_ports

pytestmark = [pytest.mark.xdist_group("control_plane"), pytest.mark.timeout(900)]


def supervisor(plane: Plane) -> Supervisor:
    """Of the control plane."""
    return Supervisor(plane.site.home, "prefect")


def kill(plane: Plane, name: str) -> None:
    """As a lack of memory would."""
    pid = supervisor(plane).status_of(name).pid
    assert pid is not None
    os.kill(pid, 9)


def test_server_worker_and_database_are_killed_and_no_run_is_lost_and_a_late_one_says_so(plane: Plane) -> None:
    with plane.client() as client:
        nightly = plane.deployment("nightly-backup")
        before = {one.name: comparable(one.trigger.model_dump(mode="json")) for one in client.read_automations()}
        supervisor(plane).stop(WORKER)
        missed = Scheduled(scheduled_time=datetime.now(UTC) - timedelta(minutes=75))
        run = client.create_flow_run_from_deployment(nightly.id, state=missed)
    for name in (POSTGRES, SERVER):
        kill(plane, name)
    supervisor(plane).start(WORKER)
    eventually(lambda: supervisor(plane).status_of(WORKER).pid, 60, "the worker's start")
    kill(plane, WORKER)
    eventually(lambda: control_plane.is_ready(plane.site.config.settings), 240, "the server's return")
    ended = plane.ended(run)
    assert ended.state_name == "Completed", ended.state
    with plane.client() as client:
        about = LogFilter.model_validate({"flow_run_id": {"any_": [run.id]}})
        # What a run logged last comes a moment after its end.
        eventually(
            lambda: any("starts 1 h 1" in one.message and "late" in one.message for one in client.read_logs(about)), what="its words"
        )
        assert {one.name: comparable(one.trigger.model_dump(mode="json")) for one in client.read_automations()} == before
    assert plane.plan() == []


def test_a_server_without_its_database_is_told_before_anything_is_begun(plane: Plane) -> None:
    supervisor(plane).stop(POSTGRES)
    try:
        ended = plane.officeops("backup", "--json")
    finally:
        supervisor(plane).start(POSTGRES)
        eventually(lambda: control_plane.is_ready(plane.site.config.settings), 60, "the database's return")
    assert (ended.status, ended.stdout) == (1, "")
    assert "or its database, does not answer" in ended.stderr
    assert "Nothing was changed" in ended.stderr


def test_leases_and_what_the_server_keeps_are_on_disk(plane: Plane) -> None:
    home = control_plane.prefect_home(plane.site.config)
    environment = json.loads((supervisor(plane).folder / "programs" / f"{SERVER}.json").read_text())["environment"]
    assert environment["PREFECT_HOME"] == str(home)
    assert environment["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"].endswith(".filesystem")


@pytest.fixture(scope="module")
def door(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The front door before the control plane: its addresses by HTTP and by TLS."""
    folder: Path = tmp_path_factory.mktemp("door")
    plain, secure, admin = free_ports(3)
    environment = {
        "SITE_ADDRESS": f"http://:{plain}, https://localhost:{secure}", "SITE_OPTIONS": "auto_https disable_redirects", "SITE_BIND": "127.0.0.1",
        "CADDY_ADMIN": f"127.0.0.1:{admin}", "GATE_DIR": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder),
        "PREFECT": f"127.0.0.1:{plane.site.config.settings.prefect_port}", "PREFECT_FRONT": f"https://localhost:{secure}",
    }  # fmt: skip
    with started(Command((str(caddy()), "run", "--config", str(CADDYFILE)), environment, cwd=folder), timeout=600):
        eventually(lambda: has_certificate(secure), what="Caddy's start")  # it listens before it has signed one
        yield f"http://localhost:{plain}", f"https://localhost:{secure}"


def has_certificate(port: int) -> bool:
    """Whether Caddy answers by TLS."""
    try:
        return httpx.get(f"https://localhost:{port}/prefect", verify=trusting()).status_code > 0
    except httpx.HTTPError:
        return False


def trusting() -> ssl.SSLContext:
    """Caddy has signed for itself."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_the_pages_are_behind_the_front_door_by_tls_only(door: tuple[str, str]) -> None:
    plain, secure = door
    with httpx.Client(verify=trusting()) as client:
        assert client.get(f"{plain}/prefect/dashboard").headers["Location"] == f"{secure}/prefect/dashboard"
        assert client.get(f"{secure}/prefect").headers["Location"] == "/prefect/"
        page = client.get(f"{secure}/prefect/")
        assert (page.status_code, page.headers["Content-Type"].split(";")[0]) == (200, "text/html")
        script = page.text.partition('src="')[2].partition('"')[0]
        assert client.get(f"{secure}{script}").status_code == 200, script
        assert client.get(f"{secure}/prefect/ui-settings").json()["api_url"] == "/prefect/api"


def test_the_api_asks_for_its_password_and_for_a_token_of_whoever_changes_something(plane: Plane, door: tuple[str, str]) -> None:
    secure, (user, _, password) = door[1], plane.site.config.settings.prefect_auth_string.get_secret_value().partition(":")
    with httpx.Client(verify=trusting(), base_url=f"{secure}/prefect/api") as client:
        assert client.get("/health").status_code == 200
        assert client.get("/admin/version").status_code == 401
        assert client.post("/flows/filter", json={}, auth=(user, password)).status_code == 403
        token = client.get("/csrf-token", params={"client": "test"}, auth=(user, password)).json()["token"]
        headers = {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "test"}
        assert client.post("/flows/filter", json={}, auth=(user, password), headers=headers).status_code == 200


def test_events_come_through_the_front_door_by_a_websocket(plane: Plane, door: tuple[str, str]) -> None:
    token = plane.site.config.settings.prefect_auth_string.get_secret_value()

    async def first_word() -> dict[str, object]:
        address = door[1].replace("https", "wss") + "/prefect/api/events/out"
        async with websockets.connect(address, ssl=trusting(), subprotocols=[websockets.Subprotocol("prefect")]) as socket:
            await socket.send(json.dumps({"type": "auth", "token": token}))
            found: dict[str, object] = json.loads(await asyncio.wait_for(socket.recv(), 10))
            return found

    assert asyncio.run(first_word())["type"] == "auth_success"


def test_a_server_that_is_killed_while_a_run_works_keeps_its_slot_and_gets_it_back(plane: Plane) -> None:
    def works() -> bool:
        with plane.client() as client:
            state = client.read_flow_run(first.id).state
        return state is not None and state.is_running()

    first = plane.start("nightly-backup")
    eventually(works, 120, "the run's begin")
    kill(plane, SERVER)
    eventually(lambda: control_plane.is_ready(plane.site.config.settings), 240, "the server's return")
    ended = plane.ended(first)
    following = plane.ended(plane.start("nightly-backup"))
    assert (ended.state_name, following.state_name) == ("Completed", "Completed"), (ended.state, following.state)
