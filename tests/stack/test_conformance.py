"""What officeops/stack/port.py promises, asked of every adapter."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from officeops.errors import UsageError
from officeops.logs.audit import audit
from officeops.postgres.connect import connected
from officeops.process import CommandError, run, started
from officeops.stack.port import Stack
from tests.support.ports import eventually
from tests.support.stack import RunningStack

pytestmark = pytest.mark.xdist_group("stack")
SERVICES = ["postgres", "redis", "ollama", "backend", "frontend", "caddy"]
RELEASED = ("backend", "frontend")


def psql(stack: Stack, sql: str, *more: str, **options: str) -> str:
    """What psql prints."""
    command = stack.tool(["psql", "-XAtq", "-d", stack.database().database, *more, "-c", sql], options=options)
    return run(command, timeout=30).stdout.decode().strip()


def test_services_come_in_the_runbooks_order_with_state_health_restarts_and_release(running: RunningStack) -> None:
    services = running.stack.services()
    assert [one.name for one in services] == SERVICES
    assert {(one.state, one.health, one.detail) for one in services} == {("running", "healthy", "")}
    assert {one.name: one.release for one in services if one.release} == dict.fromkeys(RELEASED, running.release.sha)
    assert all(one.started_at is not None and one.started_at < datetime.now(UTC) for one in services)


def test_up_a_second_time_changes_nothing(running: RunningStack) -> None:
    before, deployed = running.stack.services(), running.stack.deployed()
    running.stack.up(running.release)
    assert (running.stack.services(), running.stack.deployed()) == (before, deployed)


def test_deployed_is_the_release_that_runs(running: RunningStack) -> None:
    deployed = running.stack.deployed()
    assert deployed is not None
    assert deployed.sha == running.release.sha == running.get("/version").json()["release"]


@pytest.mark.parametrize(
    "verb",
    [
        lambda stack: stack.start("nobody"),
        lambda stack: stack.stop("nobody"),
        lambda stack: stack.restart("nobody"),
        lambda stack: stack.logs("nobody"),
    ],
    ids=["start", "stop", "restart", "logs"],
)
def test_a_service_that_the_runbook_does_not_have_is_a_mistake_of_the_caller(
    running: RunningStack, verb: Callable[[Stack], object]
) -> None:
    with pytest.raises(UsageError, match="nobody"):
        verb(running.stack)


def test_a_stopped_service_stays_stopped_until_it_is_started(running: RunningStack) -> None:
    others = [one for one in running.stack.services() if one.name != "frontend"]
    for _ in range(2):
        running.stack.stop("frontend")
    assert (running.service("frontend").state, running.service("frontend").health) == ("stopped", "unknown")
    for _ in range(2):
        running.stack.start("frontend")
    assert (running.service("frontend").health, running.service("frontend").restarts) == ("healthy", 0)
    assert [one for one in running.stack.services() if one.name != "frontend"] == others


@pytest.mark.parametrize("name", ["redis", "backend"])
def test_a_restarted_service_is_a_new_process_and_healthy(running: RunningStack, name: str) -> None:
    before = running.service(name)
    running.stack.restart(name)
    after = running.service(name)
    assert after.health == "healthy"
    assert before.started_at is not None
    assert after.started_at is not None
    assert (after.started_at > before.started_at, after.restarts) == (True, 0)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_is_killed_comes_back_and_that_is_counted(running: RunningStack, name: str) -> None:
    running.stack.restart(name)
    running.kill(name)
    eventually(lambda: running.service(name).restarts >= 1 and running.service(name).health == "healthy", what=f"{name}'s return")
    eventually(lambda: running.get("/ready").status_code == 200, what="readiness")


def test_data_survives_a_database_that_is_killed_in_the_middle_of_a_query(running: RunningStack) -> None:
    psql(running.stack, "CREATE TABLE kept (word text); INSERT INTO kept VALUES ('漢字')")
    busy = running.stack.tool(
        ["psql", "-XAtq", "-d", running.stack.database().database, "-c", "SELECT count(*) FROM generate_series(1, 100000000000)"]
    )
    with started(busy, timeout=120):
        eventually(lambda: "1" in psql(running.stack, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT count(*) FROM gen%'"))
        running.kill("postgres")
        eventually(lambda: running.service("postgres").restarts >= 1 and running.service("postgres").health == "healthy", what="return")
    assert psql(running.stack, "SELECT * FROM kept") == "漢字"
    psql(running.stack, "DROP TABLE kept")


def test_what_a_command_prints_is_streamed_out_of_it(running: RunningStack) -> None:
    command = running.stack.tool(
        ["psql", "-X", "-d", running.stack.database().database, "-c", "COPY (SELECT generate_series(1, 300000)) TO STDOUT"]
    )
    with started(command, timeout=60) as child:
        assert child.stdout.readline() == b"1\n"
        rest = sum(1 for _ in child.stdout)
        assert child.wait() == 0
    assert rest == 299_999


def test_what_a_command_reads_is_streamed_into_it(running: RunningStack) -> None:
    psql(running.stack, "CREATE TABLE streamed (number int)")
    command = running.stack.tool(["psql", "-X", "-d", running.stack.database().database, "-c", "COPY streamed FROM STDIN"])
    with started(command, timeout=60, stdin=subprocess.PIPE) as child:
        drain = threading.Thread(target=child.stdout.read)
        drain.start()
        with child.stdin as pipe:
            for number in range(300_000):
                pipe.write(b"%d\n" % number)
        drain.join()
        child.wait()
    assert psql(running.stack, "SELECT count(*) FROM streamed") == "300000"
    psql(running.stack, "DROP TABLE streamed")


@pytest.mark.parametrize(("arguments", "status"), [(["-c", "no sql"], 1), (["-d", "no_such_database", "-c", "SELECT 1"], 2)])
def test_a_command_that_fails_says_so_with_its_own_status_and_words(running: RunningStack, arguments: list[str], status: int) -> None:
    with pytest.raises(CommandError) as caught:
        run(running.stack.tool(["psql", "-X", "-d", running.stack.database().database, *arguments]), timeout=30)
    assert caught.value.status == status
    assert caught.value.stderr


def test_options_are_settings_of_the_commands_session(running: RunningStack) -> None:
    assert psql(running.stack, "SHOW statement_timeout", statement_timeout="4321") == "4321ms"


def test_a_clients_version_is_the_servers(running: RunningStack) -> None:
    said = run(running.stack.tool(["pg_dump", "--version"]), timeout=30).stdout.decode()
    assert psql(running.stack, "SHOW server_version").split(".")[0] in said


def test_the_database_is_reached_at_the_address_that_is_given(running: RunningStack) -> None:
    with connected(running.stack.database(), application="test") as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (running.stack.database().database,)
    assert running.stack.database("another").database == "another"


def test_logs_since_a_time_are_those_printed_from_then_on(running: RunningStack) -> None:
    running.get("/api/v1/long-ago")
    eventually(lambda: any("long-ago" in line.text for line in running.stack.logs("backend")), what="the first line")
    since = max(line.at for line in running.stack.logs("backend")) + timedelta(microseconds=1)
    running.get("/api/v1/just-now")
    eventually(lambda: any("just-now" in line.text for line in running.stack.logs("backend", since=since)), what="the line")
    lines = list(running.stack.logs("backend", since=since))
    assert all(line.at >= since and line.service == "backend" for line in lines)
    assert not any("long-ago" in line.text for line in lines)


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_that_a_service_printed_is_dated_after_now_or_before_it_was_set_up(running: RunningStack, name: str) -> None:
    lines = list(running.stack.logs(name))
    now = datetime.now(UTC)
    assert all(running.release.built_at - timedelta(minutes=1) <= line.at <= now for line in lines)
    # Threads of a service may write a moment after they looked at the clock.
    assert all(later.at > earlier.at - timedelta(seconds=1) for earlier, later in pairwise(lines))


def test_a_log_is_read_once_from_where_it_was_left(running: RunningStack) -> None:
    stack = running.stack
    sources = {one.service: one for one in stack.log_sources() if one.running}
    assert set(sources) == set(SERVICES)
    blocks = list(stack.read_log(sources["backend"]))
    assert blocks
    assert not any(block.gap for block in blocks)
    running.get("/api/v1/one-more")
    more: list[bytes] = []
    cursor = blocks[-1].cursor

    def seen() -> bool:
        nonlocal cursor
        for block in stack.read_log(sources["backend"], cursor):
            assert len(block.times) == len(block.text.split(b"\n"))
            assert all(at.endswith(b"Z") for at in block.times)
            more.extend(block.text.split(b"\n"))
            cursor = block.cursor
        return any(b"one-more" in text for text in more)

    eventually(seen, what="the line")
    (line,) = [text for text in more if b"one-more" in text]
    assert re.search(rb'"GET /api/v1/one-more" 404 \d+\.\d ms$', line), line  # what the report of slow requests goes by
    whole = [text for block in stack.read_log(sources["backend"]) for text in block.text.split(b"\n")]
    before = [text for block in blocks for text in block.text.split(b"\n")]
    assert whole[: len(before) + len(more)] == before + more


def test_every_services_log_is_kept_as_the_runbook_says(running: RunningStack) -> None:
    found = audit(running.site)
    assert {one.service for one in found} == set(SERVICES)
    assert {(one.verdict, one.max_bytes, one.files, one.why) for one in found} == {("ok", 10 << 20, 3, "")}


def test_what_is_made_anew_is_a_new_process_and_healthy(running: RunningStack) -> None:
    before = running.service("redis")
    running.stack.recreate("redis")
    after = running.service("redis")
    assert (after.health, after.restarts) == ("healthy", 0)
    assert after.started_at is not None
    assert before.started_at is not None
    assert after.started_at > before.started_at
    with pytest.raises(UsageError, match="rolled"):
        running.stack.recreate("backend")


@pytest.mark.parametrize(("tail", "count"), [(0, 0), (2, 2)])
def test_the_tail_of_a_log_is_its_last_lines(running: RunningStack, tail: int, count: int) -> None:
    before = list(running.stack.logs("postgres"))
    lines = list(running.stack.logs("postgres", tail=tail))
    assert len(lines) == count
    assert lines == before[len(before) - count :] or lines


def test_usage_has_every_running_service_with_its_memory(running: RunningStack) -> None:
    usage = {one.service: one for one in running.stack.usage()}
    assert set(usage) == set(SERVICES)
    assert all(one.memory > 1_000_000 and one.cpu >= 0 for one in usage.values())


def test_migrating_again_changes_nothing(running: RunningStack) -> None:
    running.stack.migrate(running.release)
    assert running.get("/version").json()["revision"] == "0004"


def test_the_seed_fills_an_office_once(running: RunningStack) -> None:
    running.stack.seed(running.release)
    messages = psql(running.stack, "SELECT count(*) FROM messages")
    assert int(messages) >= 300
    assert json.loads(running.stack.seed(running.release)) == {"loaded": {}}
    assert psql(running.stack, "SELECT count(*) FROM messages") == messages


def test_a_release_is_built_once(running: RunningStack) -> None:
    assert running.stack.build() == running.release
    assert running.stack.build(running.release.sha[:12]) == running.release


@pytest.mark.parametrize("ref", ["no-such-branch", "0" * 40, "--all", "", "HEAD~99"])
def test_a_release_of_something_that_is_no_commit_is_a_mistake_of_the_caller(running: RunningStack, ref: str) -> None:
    with pytest.raises(UsageError, match="no commit"):
        running.stack.build(ref)


def test_what_is_not_committed_is_counted_and_not_deployed(running: RunningStack, repository: Path) -> None:
    page, more = repository / "frontend" / "index.html", repository / "more"
    committed = page.read_text()
    try:
        page.write_text("not committed")
        more.mkdir()
        for name in ("one", "two"):
            (more / name).touch()
        assert running.stack.uncommitted() == 3
        running.stack.up(running.stack.build())
        assert running.get("/").text == committed
    finally:
        page.write_text(committed)
        for name in ("one", "two"):
            (more / name).unlink()
        more.rmdir()
    assert running.stack.uncommitted() == 0


def test_down_stops_everything_keeps_the_data_and_may_be_said_twice(running: RunningStack) -> None:
    psql(running.stack, "CREATE TABLE kept (word text); INSERT INTO kept VALUES ('kept')")
    for _ in range(2):
        running.stack.down()
        assert {(one.state, one.health) for one in running.stack.services()} == {("stopped", "unknown")}
    deployed = running.stack.deployed()
    running.stack.up(running.release)
    assert psql(running.stack, "SELECT * FROM kept") == "kept"
    assert running.stack.deployed() == deployed
    psql(running.stack, "DROP TABLE kept")
