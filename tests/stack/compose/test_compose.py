"""What only the Compose stack has: containers that end with their callers, an engine that goes away, a file that others wrote."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from docker.models.containers import Container

from deployments.control_plane import SERVER
from officeops.errors import OfficeOpsError, RefusedError, UsageError
from officeops.process import CommandError, CommandTimeoutError, run, started
from officeops.site import Site, open_site
from officeops.stack.compose.engine import PROJECT, SERVICE, ComposeFileError, EngineDownError, MissingImageError
from officeops.stack.compose.stack import ComposeStack
from officeops.volumes.backup import choose
from officeops_cli.stack import down, start
from tests.support.cut import cable
from tests.support.engine import Engine
from tests.support.ports import eventually
from tests.support.stack import RunningStack, git, make_stack_site, remove_project

pytestmark = pytest.mark.xdist_group("compose")
Small = Callable[..., Site]


@pytest.fixture
def stack(compose: RunningStack) -> ComposeStack:
    """The running one."""
    assert isinstance(compose.stack, ComposeStack)
    return compose.stack


def inside(stack: ComposeStack, service: str, text: str) -> int:
    """How many processes in the service's container have `text` in their arguments."""
    said = run(stack.exec(service, ["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]), timeout=30, ok=(0, 1)).stdout.decode()
    return said.count(text)


# --- programs inside ---------------------------------------------------------------------------------------------------------


def test_a_program_inside_has_its_streams_its_status_and_its_environment(stack: ComposeStack) -> None:
    command = stack.exec("backend", ["sh", "-c", 'cat; echo "said $WORD" >&2; exit 7'], environment={"WORD": "合言葉 $HOME 'x'"})
    done = run(command, timeout=30, stdin=b"x" * 1_000_000, ok=(7,))
    assert (len(done.stdout), done.stderr, done.status) == (1_000_000, "said 合言葉 $HOME 'x'", 7)


def test_a_program_inside_whose_time_is_up_is_ended_inside_with_its_children(stack: ComposeStack) -> None:
    with pytest.raises(CommandTimeoutError):
        run(stack.exec("backend", ["sh", "-c", "sleep 7531 & sleep 7531"]), timeout=2)
    assert inside(stack, "backend", "sleep 7531") == 0


def test_a_program_inside_that_does_not_listen_is_ended_all_the_same(stack: ComposeStack) -> None:
    with started(stack.exec("backend", ["sh", "-c", "trap '' TERM; while true; do sleep 7532; done"]), timeout=100):
        eventually(lambda: inside(stack, "backend", "sleep 7532") > 0, what="the program's start")
    eventually(lambda: inside(stack, "backend", "sleep 7532") == 0, what="the program's end")


def test_a_program_inside_ends_when_its_caller_is_killed(stack: ComposeStack) -> None:
    command = stack.exec("backend", ["sleep", "7533"])
    caller = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.Popen(sys.argv[1:]); import time; time.sleep(1000)", *command.argv],
        env=command.environment(),
    )
    eventually(lambda: inside(stack, "backend", "sleep 7533") == 1, what="the program's start")
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    eventually(lambda: inside(stack, "backend", "sleep 7533") == 0, what="the program's end")


def test_nothing_of_what_a_program_prints_is_lost_however_soon_it_prints(stack: ComposeStack) -> None:
    for _ in range(20):
        assert run(stack.exec("redis", ["echo", "at once"]), timeout=30).stdout == b"at once\n"


def test_nothing_can_run_inside_a_service_that_is_stopped(stack: ComposeStack) -> None:
    stack.stop("frontend")
    try:
        with pytest.raises(OfficeOpsError, match="frontend is not running"):
            stack.exec("frontend", ["true"])
    finally:
        stack.start("frontend")


# --- one-offs ----------------------------------------------------------------------------------------------------------------


def one_offs(stack: ComposeStack) -> list[str]:
    """Names of the one-offs that are there."""
    return [one["Names"][0] for one in stack.engine.containers({"officeops.stack": stack.name})]


def test_a_tools_container_is_gone_when_its_time_is_up(stack: ComposeStack) -> None:
    with pytest.raises(CommandTimeoutError, match="psql took too long"):
        run(stack.tool(["psql", "-d", stack.database().database, "-c", "SELECT pg_sleep(1000)"]), timeout=3)
    eventually(lambda: one_offs(stack) == [], what="the container's end")


def test_what_a_killed_run_left_running_is_swept(stack: ComposeStack) -> None:
    command = stack.tool(["psql", "-d", stack.database().database, "-c", "SELECT pg_sleep(1000)"])
    caller = subprocess.Popen(command.argv, env=command.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    eventually(lambda: one_offs(stack) != [], what="the container's start")
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    assert len(stack.sweep()) == 1
    assert one_offs(stack) == []
    assert stack.sweep() == []


def test_a_tool_reads_the_files_that_it_is_given_whatever_their_names(stack: ComposeStack, folder: Path) -> None:
    file = folder / "a file, with 'quotes' & 空白.sql"
    file.write_text("SELECT 'read';")
    file.chmod(0o600)
    assert (
        run(stack.tool(["psql", "-XAtq", "-d", stack.database().database, "-f", str(file)], files=[file]), timeout=30).stdout == b"read\n"
    )


def test_without_the_servers_image_tools_run_in_its_own_container(stack: ComposeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack.engine, "has_image", lambda _reference: False)
    argv = ["psql", "-XAtq", "-d", stack.database().database, "-c", "SELECT 1"]
    assert run(stack.tool(argv), timeout=30).stdout == b"1\n"
    with pytest.raises(OfficeOpsError, match="image is gone"):
        stack.tool(argv, files=[Path("/etc/hostname")])


def test_secrets_are_in_no_argument_list_of_this_host(stack: ComposeStack, compose: RunningStack) -> None:
    secret = compose.site.config.settings.postgres_password.get_secret_value()
    commands = [stack.tool(["psql"]), stack.exec("backend", ["true"], environment={"X": compose.site.config.settings.postgres_password})]
    commands += [stack.base_backup(), stack.project(compose.release.sha).command("config")]
    assert not [part for command in commands for part in command.argv if secret in part]


# --- an engine that is not there ---------------------------------------------------------------------------------------------


def test_without_an_engine_every_verb_says_so(compose: RunningStack, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/nobody")
    stack = ComposeStack(compose.site.config)
    for verb in (stack.services, stack.usage, stack.volumes, stack.down, stack.sweep, lambda: stack.up(compose.release)):
        with pytest.raises(EngineDownError, match=re.escape(f"unix://{folder}/nobody")) as caught:
            verb()
        assert "DOCKER_HOST" in caught.value.todo


@pytest.mark.parametrize("way", ["inside", "beside"])
def test_an_engine_that_goes_in_the_middle_is_told_and_nothing_hangs(
    compose: RunningStack, engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    with cable(folder, engine.docker_host) as to_engine:
        monkeypatch.setenv("DOCKER_HOST", to_engine.host)
        stack = ComposeStack(compose.site.config)
        endless = ["sh", "-c", "yes"]
        command = stack.exec("postgres", endless) if way == "inside" else stack.tool(endless)
        with started(command, timeout=60) as child:
            assert child.stdout.read(100_000)
            to_engine.cut()
            while child.stdout.read(1 << 20):
                pass
            with pytest.raises(EngineDownError if way == "inside" else OfficeOpsError) as caught:
                child.wait()
            assert "Traceback" not in str(caught.value.__cause__)
        with pytest.raises(EngineDownError):
            stack.services()
    monkeypatch.setenv("DOCKER_HOST", engine.docker_host)
    assert len(compose.stack.sweep()) == 1, "the engine could not be told to end it"
    assert compose.stack.sweep() == []
    assert {one.health for one in compose.stack.services()} == {"healthy"}


# --- files and images that are wrong -----------------------------------------------------------------------------------------

SMALL = """
services:
  postgres:
    image: {image}
    environment: {{POSTGRES_PASSWORD: "${{POSTGRES_PASSWORD}}", POSTGRES_USER: "${{POSTGRES_USER}}", POSTGRES_DB: "${{POSTGRES_DB}}"}}
    volumes: ["data:/var/lib/postgresql/data"]
  caddy:
    image: {caddy}
    command: {command}
    ports: ["127.0.0.1:${{HTTP_PORT}}:80"]
    restart: unless-stopped
    {more}
volumes: {{data: {{}}}}
"""
RUNBOOK = """
version: 1
stack: {name}
title: Small
application: {{compose: {{file: docker-compose.yml}}}}
services:
  postgres: {{kind: postgres, port: POSTGRES_PORT}}
  caddy: {{kind: caddy, port: HTTP_PORT, stop_grace: 1}}
"""
SERVE = "[caddy, respond, --listen, ':80', well]"


@pytest.fixture
def small(folder: Path, engine: Engine) -> Iterator[Small]:
    """Makes sites of an application of two services, whose Compose file is given."""
    made: list[Site] = []

    def make(name: str = "", **parts: str) -> Site:
        place = folder / uuid4().hex[:6]
        repository = place / "application"
        repository.mkdir(parents=True)
        given = {"image": engine.env["POSTGRES_IMAGE"], "caddy": engine.env["CADDY_IMAGE"], "command": SERVE, "more": "", **parts}
        (repository / "docker-compose.yml").write_text(SMALL.format(**given))
        git(place, "init", "--quiet", str(repository))
        git(repository, "add", ".")
        git(repository, "commit", "--quiet", "--message=Small")
        site = make_stack_site(place / "site", repository, OFFICEOPS_STACK="compose", **engine.env)
        (site.config.folder / "runbook.yaml").write_text(RUNBOOK.format(name=name or f"small_{uuid4().hex[:8]}"))
        made.append(open_site(site.config.folder))
        return made[-1]

    yield make
    for site in made:
        stack = site.stack
        assert isinstance(stack, ComposeStack)
        stack.engine.kill({PROJECT: site.name})
        for network in stack.engine.api.networks(filters={"label": f"{PROJECT}={site.name}"}):
            stack.engine.api.remove_network(network["Id"])
        remove_project(site)


def test_a_folder_that_compose_cannot_work_in_is_refused_with_the_reason(
    small: Small, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = small()
    monkeypatch.setenv("OFFICEOPS_HOME", str(folder / "100 % ours"))
    with pytest.raises(UsageError, match="per cent sign"):
        open_site(site.config.folder).stack.build()


def test_a_compose_file_with_an_unknown_key_is_a_mistake_that_is_named(small: Small) -> None:
    site = small(more="imag: x")
    with pytest.raises(ComposeFileError, match="imag") as caught:
        site.stack.build()
    assert caught.value.exit_status == 2


def test_a_service_that_the_compose_file_does_not_have_is_named(small: Small) -> None:
    site = small()
    runbook = site.config.folder / "runbook.yaml"
    runbook.write_text(runbook.read_text() + "  redis: {kind: redis, port: REDIS_PORT}\n")
    with pytest.raises(UsageError, match="no service redis"):
        open_site(site.config.folder).stack.build()


def test_an_image_that_cannot_be_had_is_named(small: Small) -> None:
    site = small(caddy="registry.invalid/office/no-such-image:1")
    with pytest.raises(MissingImageError, match=r"registry\.invalid"):
        site.stack.up(site.stack.build())


def test_of_a_container_that_exits_at_start_the_last_words_are_told(small: Small) -> None:
    site = small(command="[sh, -c, 'echo I cannot go on; exit 3']")
    with pytest.raises(OfficeOpsError, match=r"caddy is not healthy.*status 3") as caught:
        site.stack.up(site.stack.build())
    assert "I cannot go on" in caught.value.state


def test_of_a_port_that_a_program_has_the_program_is_named_and_nothing_starts(small: Small) -> None:
    site = small()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", site.config.settings.http_port))
        taken.listen()
        with pytest.raises(OfficeOpsError, match=rf"caddy cannot start: port .*process {os.getpid()}.*") as caught:
            site.stack.up(site.stack.build())
    assert "HTTP_PORT" in caught.value.todo
    assert {one.state for one in site.stack.services()} == {"stopped"}


def test_two_projects_on_one_host_do_not_meet(small: Small) -> None:
    one, other = small(), small()
    for site in (one, other):
        site.stack.up(site.stack.build())
    other.stack.down()
    assert {service.health for service in one.stack.services()} == {"healthy"}
    assert {service.state for service in other.stack.services()} == {"stopped"}


def aside(engine: Engine) -> str:
    """Beside the application: a container of the profile of the control plane, under the name of one of its own."""
    return f"""
  {SERVER}:
    image: {engine.env["CADDY_IMAGE"]}
    profiles: [prefect]
    command: {SERVE}
    stop_grace_period: 1s
"""


def start_aside(site: Site, *services: str) -> ComposeStack:
    """The stack of a site, of which now runs what is beside it, and these services too."""
    stack = site.stack
    assert isinstance(stack, ComposeStack)
    control = replace(stack.project(stack.build().sha), profiles=("prefect",))
    stack.engine.run(control.command("up", "--detach", SERVER, *services), timeout=60)
    return stack


def containers(stack: ComposeStack) -> dict[str, tuple[str, str]]:
    """Of the project: id and state, by service."""
    return {one["Labels"][SERVICE]: (one["Id"], one["State"]) for one in stack.engine.containers({PROJECT: stack.name})}


def test_what_stands_in_a_profile_is_never_touched(small: Small, engine: Engine) -> None:
    site = small(more=aside(engine))
    site.stack.up(site.stack.build())
    stack = start_aside(site)
    stack.up(stack.build())
    stack.down()
    ((name, (_, state)),) = containers(stack).items()
    assert (name, state) == (SERVER, "running")


def test_a_second_folder_of_one_name_changes_nothing_of_the_first_ones_stack_and_control_plane(small: Small, engine: Engine) -> None:
    one = small(more=aside(engine))
    one.stack.up(one.stack.build())
    stack = start_aside(one)
    before = containers(stack)
    assert len(before) == 3
    same = small(name=one.name)
    for verb in (
        lambda: start(same, None, with_control_plane=True),
        lambda: down(same.config.folder),
        lambda: same.stack.up(same.stack.build()),
        same.stack.down,
        same.stack.require_ours,
    ):
        with pytest.raises(UsageError, match=re.escape(str(one.config.settings.officeops_app))) as refused:
            verb()
        assert "`stack` in runbook.yaml" in refused.value.todo
        assert containers(stack) == before
    one.stack.require_ours()


def test_all_of_it_can_be_taken_down_by_an_engine_that_is_reached_by_tcp(
    small: Small, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = small(more=aside(engine))
    assert containers(start_aside(site, "caddy")).keys() == {SERVER, "caddy"}
    with cable(None, engine.docker_host) as to_engine:
        monkeypatch.setenv("DOCKER_HOST", to_engine.host)
        down(site.config.folder)
        left = open_site(site.config.folder).stack
        assert isinstance(left, ComposeStack)
        assert containers(left) == {}
        monkeypatch.setenv("DOCKER_HOST", engine.docker_host)


# --- volumes -----------------------------------------------------------------------------------------------------------------


def test_a_volume_whose_container_runs_does_not_change_places(stack: ComposeStack) -> None:
    stack.create_volume("aside")
    try:
        with pytest.raises(RefusedError, match="cannot change places"):
            stack.exchange_volumes("caddy_data", "aside")
    finally:
        stack.remove_volume("aside")


@pytest.fixture
def of_the_control_plane(stack: ComposeStack, engine: Engine) -> Iterator[Container]:
    """A container of the project that is no service of the runbook; it has a volume, as Compose makes them, with something in it."""
    project, name = {PROJECT: stack.name}, f"{stack.name}_prefect_db_data"
    with closing(engine.client()) as client:
        volume = client.volumes.create(name, labels={**project, "com.docker.compose.volume": "prefect_db_data"})
        container = client.containers.run(
            engine.env["CADDY_IMAGE"], ["sh", "-c", "echo kept > /data/file; exec sleep 600"], entrypoint=[], detach=True, labels=project,
            volumes=[f"{name}:/data"], user="0:0",
        )  # fmt: skip
        try:
            yield container
        finally:
            container.remove(v=True, force=True)
            volume.remove(force=True)


def test_a_volume_of_the_control_plane_is_copied_when_asked_for_by_name_and_nothing_changes_it(
    compose: RunningStack, stack: ComposeStack, of_the_control_plane: Container
) -> None:
    found = {one.name: one for one in stack.volumes()}
    assert found.keys() == {"db_data", "uploads", "caddy_data", "ollama_models", "prefect_db_data"}
    assert [one.name for one in found.values() if one.database] == ["db_data"]
    assert "prefect_db_data" not in {one.name for one in choose(compose.site, "volumes", [])}
    with pytest.raises(RefusedError, match="none of the runbook's services"):
        stack.export_volume("prefect_db_data")
    of_the_control_plane.stop(timeout=0)
    with tarfile.open(fileobj=io.BytesIO(run(stack.export_volume("prefect_db_data"), timeout=60).stdout)) as tar:
        assert "./file" in tar.getnames()


def test_a_failure_of_compose_itself_is_told_in_its_own_words(stack: ComposeStack, compose: RunningStack) -> None:
    with pytest.raises(CommandError, match="no such service: nobody"):
        stack.engine.run(stack.project(compose.release.sha).command("up", "--detach", "nobody"), timeout=30)
