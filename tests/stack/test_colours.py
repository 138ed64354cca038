"""What officeops/stack/port.py promises of releases in two colours, asked of every adapter."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from officeops.errors import OfficeOpsError, RefusedError, UsageError
from officeops.gate import Gate
from officeops.process import CommandError, run
from officeops.stack.port import Colour, Deployed, Release, Stack
from tests.support.ports import eventually
from tests.support.stack import RunningStack, commit_beside

pytestmark = pytest.mark.xdist_group("stack")
ROLLED = ["backend", "frontend"]
MODEL = "another-model:1b"


@pytest.fixture(scope="session")
def next_sha(repository: Path) -> str:
    """A commit after the one that runs: a page more."""
    front_door = (repository / "caddy" / "Caddyfile").read_text()
    return commit_beside(repository, {"frontend/next.js": "of the next release", "caddy/Caddyfile": f"{front_door}# of the next release\n"})


@pytest.fixture
def following(running: RunningStack, next_sha: str) -> Release:
    """It, built, with a setting of its own."""
    return replace(running.stack.build(next_sha), settings={"ollama_model": MODEL})


@pytest.fixture
def beside(running: RunningStack, following: Release) -> Iterator[Release]:
    """It runs in green, beside the release that takes requests in blue."""
    running.stack.launch(following, "green")
    eventually(lambda: all(one.health == "healthy" for one in running.stack.instances("green")), 60, what="the second colour")
    yield following
    running.stack.retire("green")


def ask(stack: Stack, path: str, *, service: str = "backend") -> httpx.Response:
    """Green itself, past the front door."""
    return httpx.get(stack.endpoint(service, "green") + path, timeout=30, verify=False)


def test_a_second_release_runs_beside_the_first_which_goes_on_taking_requests(running: RunningStack, following: Release) -> None:
    before = running.stack.services()
    running.stack.launch(following, "green")
    try:
        eventually(lambda: all(one.health == "healthy" for one in running.stack.instances("green")), 60, what="the second colour")
        assert ask(running.stack, "/version").json()["release"] == following.sha
        assert ask(running.stack, "/next.js", service="frontend").text == "of the next release"
        assert running.get("/version").json()["release"] == running.release.sha
        assert running.stack.services() == before
    finally:
        running.stack.retire("green")
    assert running.stack.services() == before


def test_instances_are_the_rolled_services_of_a_colour_with_its_release(running: RunningStack, beside: Release) -> None:
    for colour, release in (("blue", running.release), ("green", beside)):
        found = running.stack.instances(colour)
        assert [(one.name, one.colour, one.state, one.health, one.release) for one in found] == [
            (name, colour, "running", "healthy", release.sha) for name in ROLLED
        ]


def test_a_service_under_its_own_name_is_the_colour_that_takes_requests(running: RunningStack, beside: Release) -> None:
    assert {one.name: one.colour for one in running.stack.services() if one.colour} == dict.fromkeys(ROLLED, "blue")
    assert {one.release for one in running.stack.services() if one.colour} == {running.release.sha}
    assert [one.service for one in running.stack.usage()].count("backend") == 1


def test_a_release_runs_with_its_own_settings(running: RunningStack, beside: Release) -> None:
    assert ask(running.stack, "/api/v1/ai/models").json()["default"] == MODEL
    assert running.get("/api/v1/ai/models").json()["default"] != MODEL


def test_a_colour_that_was_retired_is_gone_and_may_be_retired_again(running: RunningStack, beside: Release) -> None:
    address = urlsplit(running.stack.endpoint("backend", "green"))
    for _ in range(2):
        running.stack.retire("green")
        found = running.stack.instances("green")
        assert [(one.name, one.colour, one.state, one.health, one.release) for one in found] == [
            (name, "green", "stopped", "unknown", None) for name in ROLLED
        ]
    with pytest.raises(OfficeOpsError, match="does not run"):
        running.stack.endpoint("backend", "green")
    with (
        pytest.raises(OSError, match=r"refused|timed out|No route|unreachable"),
        socket.create_connection((address.hostname, address.port), 1),
    ):
        pass


def test_what_ran_in_a_colour_before_is_gone_when_another_release_is_launched_in_it(running: RunningStack, beside: Release) -> None:
    running.stack.launch(replace(running.release, settings={"ollama_model": "third:1b"}), "green")
    eventually(lambda: all(one.health == "healthy" for one in running.stack.instances("green")), 60, what="the third")
    assert ask(running.stack, "/version").json()["release"] == running.release.sha
    assert ask(running.stack, "/api/v1/ai/models").json()["default"] == "third:1b"
    assert ask(running.stack, "/next.js", service="frontend").status_code == 404


def test_a_service_that_has_one_colour_has_one_address_and_nobody_has_none(running: RunningStack) -> None:
    port = urlsplit(running.stack.endpoint("ollama")).port
    assert httpx.get(f"{running.stack.endpoint('ollama')}/api/tags", timeout=10).status_code == 200
    assert port
    with pytest.raises(UsageError, match="nobody"):
        running.stack.endpoint("nobody")


def test_logs_are_those_of_the_colour_that_takes_requests_or_of_the_one_asked_for(running: RunningStack, beside: Release) -> None:
    ask(running.stack, "/api/v1/only-green")
    running.get("/api/v1/only-blue")

    def said(text: str, colour: Colour | None) -> bool:
        return any(text in line.text for line in running.stack.logs("backend", colour=colour))

    eventually(lambda: said("only-blue", None) and said("only-green", "green"), what="the lines")
    assert (said("only-blue", "blue"), said("only-green", None), said("only-green", "blue"), said("only-blue", "green")) == (True,) + (
        False,
    ) * 3
    assert {line.service for line in running.stack.logs("backend", colour="green")} == {"backend"}


def test_logs_until_a_time_are_those_printed_up_to_it(running: RunningStack) -> None:
    running.get("/api/v1/before-then")
    eventually(lambda: any("before-then" in line.text for line in running.stack.logs("backend")), what="the first line")
    until = max(line.at for line in running.stack.logs("backend"))
    time.sleep(0.01)
    running.get("/api/v1/after-that")
    eventually(lambda: any("after-that" in line.text for line in running.stack.logs("backend")), what="the second line")
    lines = list(running.stack.logs("backend", until=until))
    assert any("before-then" in line.text for line in lines)
    assert not any("after-that" in line.text for line in lines)
    assert list(running.stack.logs("backend", since=until + timedelta(microseconds=1), until=until)) == []


def test_a_request_that_is_on_its_way_is_counted_for_its_colour_until_it_is_over(running: RunningStack, beside: Release) -> None:
    place = urlsplit(running.stack.front_door())
    assert (running.stack.in_flight("blue"), running.stack.in_flight("green")) == (0, 0)
    with socket.create_connection((place.hostname, place.port), 10) as slow:
        slow.sendall(b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 4\r\n\r\n{")
        eventually(lambda: running.stack.in_flight("blue") == 1, what="the request's arrival")
        assert running.stack.in_flight("green") == 0
        slow.sendall(b"   ")
        answer = slow.recv(1000)
    assert b" 422 " in answer.splitlines()[0]
    eventually(lambda: running.stack.in_flight("blue") == 0, what="its end")


def test_stopping_a_rolled_service_stops_both_and_starting_it_starts_the_one_that_takes_requests(
    running: RunningStack, beside: Release
) -> None:
    def states() -> list[str]:
        return [one.state for colour in ("blue", "green") for one in running.stack.instances(colour) if one.name == "backend"]

    running.stack.stop("backend")
    assert states() == ["stopped", "stopped"]
    running.stack.start("backend")
    assert states() == ["running", "stopped"]


def test_after_a_switch_up_brings_the_deployed_colour_only_and_leaves_it_as_it_is(running: RunningStack, beside: Release) -> None:
    stack, gate = running.stack, Gate(running.stack)
    before = stack.deployed()
    assert before is not None
    try:
        gate.open("green")
        gate.shut("blue")
        deployed = Deployed(beside.sha, datetime.now(UTC), "green", beside.settings)
        stack.record(deployed)
        assert stack.deployed() == deployed
        assert (running.get("/version").json()["release"], gate.serving("/version")) == (beside.sha, beside.sha)
        switched, front_door = stack.services(), stack.proxy_digest()
        stack.up(beside, keep_proxy=True)
        assert stack.proxy_digest() == front_door
        assert [one.state for one in stack.instances("blue")] == ["stopped", "stopped"]
        assert stack.services() == switched
        assert gate.open_colours() == ("green",)
        assert (stack.deployed(), running.get("/version").json()["release"]) == (deployed, beside.sha)
        assert run(stack.exec("backend", ["printenv", "RELEASE_SHA"]), timeout=30).stdout.decode().strip() == beside.sha
    finally:
        stack.record(before)
        stack.up(running.release)
    assert gate.open_colours() == ("blue",)
    assert running.get("/version").json()["release"] == running.release.sha


def test_up_after_down_brings_back_the_deployed_colour(running: RunningStack, beside: Release) -> None:
    stack = running.stack
    before = stack.deployed()
    assert before is not None
    try:
        stack.record(Deployed(beside.sha, datetime.now(UTC), "green", beside.settings))
        front_door = stack.proxy_digest()
        stack.down()
        stack.up(beside)
        assert stack.proxy_digest() != front_door
        assert {one.name: (one.colour, one.health, one.release) for one in stack.services() if one.colour} == dict.fromkeys(
            ROLLED, ("green", "healthy", beside.sha)
        )
        assert [one.state for one in stack.instances("blue")] == ["stopped", "stopped"]
        assert running.get("/api/v1/ai/models").json()["default"] == MODEL
    finally:
        stack.record(before)
        stack.up(running.release)


def test_built_releases_are_found_newest_first_with_what_they_were_built_to(running: RunningStack, following: Release) -> None:
    built = running.stack.built()
    shas = [one.sha for one in built]
    assert shas.index(following.sha) < shas.index(running.release.sha)
    assert built == sorted(built, key=lambda one: one.built_at, reverse=True)
    assert all(running.stack.artifact(following).values())
    assert (running.stack.folder(following) / "frontend" / "next.js").read_text() == "of the next release"


def test_a_release_that_runs_is_not_discarded(running: RunningStack, beside: Release) -> None:
    for release in (running.release, beside):
        with pytest.raises(RefusedError, match=release.sha[:10]):
            running.stack.discard(release.sha)
        assert running.stack.artifact(release)


def test_a_release_that_was_discarded_is_gone_may_be_discarded_again_and_built_again(running: RunningStack, following: Release) -> None:
    for _ in range(2):
        running.stack.discard(following.sha)
        assert following.sha not in [one.sha for one in running.stack.built()]
        with pytest.raises(OfficeOpsError, match=following.sha[:10]):
            running.stack.artifact(following)
    with pytest.raises(OfficeOpsError):
        running.stack.launch(following, "green")
    assert running.stack.artifact(running.release)
    assert running.stack.build(following.sha).sha == following.sha
    assert running.stack.artifact(following)


def test_of_a_good_release_there_is_nothing_to_complain_about(running: RunningStack) -> None:
    assert running.stack.validate(running.release) == []


def test_what_is_wrong_with_a_releases_own_configuration_is_told_and_nothing_is_touched(running: RunningStack, repository: Path) -> None:
    before = running.stack.services()
    sha = commit_beside(repository, {"caddy/Caddyfile": ":8080 {\n\treverse_prox backend\n}\n"})
    found = running.stack.validate(running.stack.build(sha))
    assert any("reverse_prox" in one for one in found)
    assert running.stack.services() == before


@pytest.mark.parametrize(("arguments", "said"), [(["current"], "0004"), (["upgrade", "0003:0004", "--sql"], "ALTER TABLE")])
def test_the_migration_program_is_run_with_other_arguments(running: RunningStack, arguments: list[str], said: str) -> None:
    assert said in run(running.stack.migration(running.release, arguments), timeout=60).stdout.decode()


def test_the_gates_are_where_the_front_door_looks(running: RunningStack) -> None:
    assert running.stack.gate_folder.stat().st_mode & 0o777 == 0o755
    assert Gate(running.stack).open_colours() == ("blue",)
    assert Gate(running.stack).serving("/version") == running.release.sha


def test_the_migration_program_obeys_libpqs_own_variables(running: RunningStack) -> None:
    environment = {"PGOPTIONS": "-c lock_timeout=soon"}
    with pytest.raises(CommandError, match="lock_timeout"):
        run(running.stack.migration(running.release, ["current"], environment=environment), timeout=60)
