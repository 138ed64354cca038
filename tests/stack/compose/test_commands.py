"""Argument lists, without an engine."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from pydantic import SecretStr

from officeops.stack.compose import commands
from officeops.stack.compose.commands import Container, Project

OFFICE = Project("office", Path("/srv/app"), (Path("/srv/releases/1/docker-compose.yml"), Path("/srv/more.yml")), Path("/dev/null"))
COMMON = [
    "docker", "compose", "--project-name", "office", "--project-directory", "/srv/app", "--env-file", "/dev/null",
    "--file", "/srv/releases/1/docker-compose.yml", "--file", "/srv/more.yml", "--ansi=never", "--progress=plain",
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (commands.config(), ["config", "--format=json"]),
        (commands.build(["backend", "frontend"]), ["build", "backend", "frontend"]),
        (commands.up(["postgres"]), ["up", "--detach", "--no-build", "--quiet-pull", "postgres"]),
        (commands.up(["backend"], alone=True), ["up", "--detach", "--no-build", "--quiet-pull", "--no-deps", "--no-recreate", "backend"]),
        (
            commands.launch(["backend-green"]),
            ["up", "--detach", "--no-build", "--no-deps", "--force-recreate", "backend-green"],
        ),
        (commands.stop(["backend", "caddy"], 40), ["stop", "--timeout=40", "backend", "caddy"]),
        (commands.remove(["backend"]), ["rm", "--force", "backend"]),
        (
            commands.one_off("backend", ["alembic", "upgrade", "head"], "17", ["TOKEN"]),
            ["run", "--rm", "--no-deps", "--no-TTY", "--label=officeops.run=17", "--env", "TOKEN", "backend", "alembic", "upgrade", "head"],
        ),
    ],
    ids=["config", "build", "up", "up alone", "launch", "stop", "remove", "one-off"],
)
def test_each_verb_names_its_services(arguments: list[str], expected: list[str]) -> None:
    assert list(OFFICE.command(*arguments).argv) == [*COMMON, *expected]


def test_profiles_are_asked_for_by_name() -> None:
    asked = Project("office", Path("/srv/app"), (Path("/srv/c.yml"),), Path("/dev/null"), profiles=("prefect",)).command("ps")
    assert ("--profile", "prefect") in zip(asked.argv, asked.argv[1:], strict=False)


def test_values_go_by_the_environment_and_secrets_are_in_no_argument() -> None:
    secret = SecretStr("corner, 'quote' $HOME")
    project = Project("office", Path("/srv/app"), (), Path("/dev/null"), {"POSTGRES_PASSWORD": secret})
    command = project.command("up", MORE=secret)
    assert command.environment()["POSTGRES_PASSWORD"] == command.environment()["MORE"] == secret.get_secret_value()
    assert not any(secret.get_secret_value() in part for part in command.argv)


def one_off(**changes: object) -> list[str]:
    """The arguments of a container that runs pg_dump."""
    given = {"stack": "office", "image": "sha256:1", "network": "office_default", "user": "0:0", "run": "17", **changes}
    container = Container(**given)  # type: ignore[arg-type]
    return list(container.command("pg_dump", ["-d", "office"], {"PGPASSWORD": SecretStr("hidden-from-all")}).argv)


def test_a_one_off_runs_the_program_itself_with_its_arguments_behind_the_image() -> None:
    argv = one_off()
    assert argv[:3] == ["docker", "run", "--rm"]
    assert argv[-3:] == ["sha256:1", "-d", "office"]
    assert "--entrypoint=pg_dump" in argv


def test_a_one_off_pulls_nothing_logs_nothing_and_may_do_little() -> None:
    hardened = {
        "--pull=never",
        "--log-driver=none",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--network=office_default",
    }
    assert hardened <= set(one_off())
    assert "--cap-add=CHOWN" in one_off(capabilities=("CHOWN",))


def test_a_one_off_can_be_found_by_its_stack_its_kind_and_its_run() -> None:
    assert {"--label=officeops.stack=office", "--label=officeops.one-off=tool", "--label=officeops.run=17"} <= set(one_off())


def test_a_one_offs_variables_are_named_and_their_values_are_not_in_its_arguments() -> None:
    argv = one_off()
    assert argv[argv.index("--env") + 1] == "PGPASSWORD"
    assert not any("hidden-from-all" in part for part in argv)


def test_only_a_persons_one_off_has_a_terminal() -> None:
    assert "--tty" in one_off(kind=commands.TERMINAL)
    assert "--tty" not in one_off()


@pytest.mark.parametrize("path", ["/srv/plain", "/srv/with, a comma", '/srv/with "quotes"', "/srv/事務所"])
@pytest.mark.parametrize("writable", [True, False])
def test_a_mount_has_its_path_whatever_characters_it_has(path: str, writable: bool) -> None:
    (fields,) = csv.reader([commands.bind(Path(path), writable=writable)])
    assert fields == ["type=bind", f"source={path}", f"target={path}", *([] if writable else ["readonly"])]
