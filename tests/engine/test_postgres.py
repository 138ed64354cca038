"""The stand-in for the image `postgres` keeps the official image's promises."""

from __future__ import annotations

import pytest

from tests.engine.conftest import Run, Start
from tests.support.engine import Engine
from tests.support.ports import eventually

PASSWORD = 'a p\'ss "wörd" $HOME %s'
DATA = "/var/lib/postgresql/data"
# What the Compose file allows it.
NARROW = {
    "user": "postgres",
    "read_only": True,
    "tmpfs": {"/tmp": "", "/var/run/postgresql": "mode=1777"},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}


def settings(password: str = PASSWORD, user: str = "office", database: str = "office_db") -> dict[str, str]:
    """The environment that it is configured by."""
    return {"POSTGRES_PASSWORD": password, "POSTGRES_USER": user, "POSTGRES_DB": database}


def ready(server: Run) -> Run:
    """Once it answers by network, which it does only after the initialisation."""
    eventually(lambda: server.sh("pg_isready -q -h $(hostname -i)")[0] == 0, what="PostgreSQL's start")
    return server


def ask(server: Run, sql: str, host: str = "", password: str = "") -> tuple[int, str]:
    """psql inside, by the socket or (host) by network."""
    return server.sh(f'psql -w -XAtq {host and "-h " + host} -U office -d office_db -c "$SQL"', SQL=sql, PGPASSWORD=password)


@pytest.fixture(scope="module")
def server(engine: Engine, keep: Start) -> Run:
    """A server as the Compose file runs it."""
    return ready(keep(engine.env["POSTGRES_IMAGE"], environment=settings(), **NARROW))


def test_it_runs_as_an_ordinary_user_on_a_read_only_system(server: Run) -> None:
    assert ask(server, "select current_user, current_database(), version() like 'PostgreSQL 15%'") == (0, "office|office_db|t")
    assert server.sh("stat -c %U /proc/1 && ! touch /anything 2>/dev/null") == (0, "postgres")


def test_by_network_it_wants_the_password_and_inside_it_does_not(server: Run) -> None:
    assert ask(server, "select 1") == (0, "1")
    assert ask(server, "select 1", host="127.0.0.1") == (0, "1")
    assert ask(server, "select 1", host="$(hostname -i)", password=PASSWORD) == (0, "1")
    status, said = ask(server, "select 1", host="$(hostname -i)", password="another")
    assert status == 2
    assert "password authentication failed" in said
    assert "no password supplied" in ask(server, "select 1", host="$(hostname -i)")[1]


@pytest.mark.parametrize("tool", ["pg_dump", "pg_restore", "pg_basebackup", "initdb", "psql"])
def test_its_tools_are_on_the_path_in_the_servers_version(server: Run, tool: str) -> None:
    assert " 15." in server.sh(f"{tool} --version")[1]


def test_it_brings_the_contributed_extensions_and_gnu_tar(server: Run) -> None:
    assert ask(server, "select count(*) from pg_available_extensions where name in ('amcheck', 'pg_stat_statements', 'pg_trgm')") == (
        0,
        "3",
    )
    assert "GNU tar" in server.sh("tar --version")[1]


def test_an_empty_volume_is_initialised_and_a_full_one_left_alone(engine: Engine, start: Start, volume: str) -> None:
    mounted = {"volumes": {volume: {"bind": DATA}}}
    script = "echo 'create table made (at_start int)' > /docker-entrypoint-initdb.d/1.sql; exec docker-entrypoint.sh postgres"
    first = ready(start(engine.env["POSTGRES_IMAGE"], ["-c", script], entrypoint="sh", environment=settings(), **mounted))
    assert first.sh("stat -c %u /proc/1") == (0, "999")  # it was root's at first
    assert ask(first, "insert into made values (1) returning 1") == (0, "1")
    assert first.stop() == 0
    assert "database system is shut down" in first.logs()

    second = ready(start(engine.env["POSTGRES_IMAGE"], environment=settings("another", "somebody", "else"), **mounted, **NARROW))
    assert "Skipping initialization" in second.logs()
    assert ask(second, "select at_start from made", host="$(hostname -i)", password=PASSWORD) == (0, "1")
    assert second.stop() == 0


def test_without_a_password_it_initialises_nothing(engine: Engine, start: Start) -> None:
    server = start(engine.env["POSTGRES_IMAGE"])
    assert server.container.wait()["StatusCode"] == 1
    assert "superuser password is not specified" in server.logs()
