"""Migrations, the demonstration's data, the check of the database."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from pydantic import SecretStr

from officeops.stack.port import DatabaseAddress
from tests.support.backend import alembic, python
from tests.support.ports import free_ports
from tests.support.postgres import PASSWORD

pytestmark = pytest.mark.xdist_group("backend")
Sql = Callable[..., list[tuple[object, ...]]]
TABLES = {"users", "conversations", "messages", "rooms", "sensor_readings", "audit_log", "alembic_version"}
CHECK = "import asyncio, inspect; from app.core.database import init_db as i; assert inspect.iscoroutinefunction(i); asyncio.run(i())"


def tables(run_sql: Sql) -> set[object]:
    return {row[0] for row in run_sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


def test_the_schema_goes_up_down_and_up_again(address: DatabaseAddress, run_sql: Sql) -> None:
    alembic("upgrade", "head", address=address)
    assert tables(run_sql) == TABLES
    alembic("downgrade", "base", address=address)
    assert tables(run_sql) == {"alembic_version"}
    alembic("upgrade", "head", address=address)
    assert tables(run_sql) == TABLES


def test_the_models_are_what_the_migrations_make(address: DatabaseAddress) -> None:
    alembic("upgrade", "head", address=address)
    assert b"No new upgrade operations detected" in alembic("check", address=address).stdout


def test_a_migration_that_was_killed_half_way_is_finished_by_the_next_one(address: DatabaseAddress, run_sql: Sql) -> None:
    alembic("upgrade", "0003", address=address)
    run_sql("ALTER TABLE messages ADD COLUMN model text")
    run_sql("CREATE INDEX ix_messages_created_at ON messages (created_at)")
    run_sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_messages_created_at'::regclass")
    alembic("upgrade", "head", address=address)
    assert run_sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_messages_created_at'::regclass") == [(True,)]


@pytest.fixture
def seeded(address: DatabaseAddress) -> dict[str, int]:
    """Rows by table that the seed says it has loaded."""
    alembic("upgrade", "head", address=address)
    loaded: dict[str, int] = json.loads(python("-m", "app.seed", "--messages", "300", address=address).stdout)["loaded"]
    return loaded


def test_the_seed_loads_what_it_says(seeded: dict[str, int], run_sql: Sql) -> None:
    assert seeded["messages"] >= 300
    assert seeded == {table: run_sql(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES - {"alembic_version"}}


def test_the_seed_leaves_an_office_that_is_there_alone(address: DatabaseAddress, seeded: dict[str, int], run_sql: Sql) -> None:
    again = python("-m", "app.seed", "--messages", "300", address=address)
    assert (again.status, json.loads(again.stdout)) == (0, {"loaded": {}})
    assert run_sql("SELECT count(*) FROM messages") == [(seeded["messages"],)]


@pytest.mark.usefixtures("seeded")
def test_the_seed_spans_three_years_in_japanese_and_english(run_sql: Sql) -> None:
    ((days, newest, future),) = run_sql(
        "SELECT extract(day FROM max(created_at) - min(created_at)), extract(day FROM now() - max(created_at)),"
        " count(*) FILTER (WHERE created_at > now() + interval '1 hour') FROM messages"
    )
    ((japanese, english),) = run_sql(
        "SELECT count(*) FILTER (WHERE content ~ '[ぁ-んァ-ン一-龥]'), count(*) FILTER (WHERE content ~ '^[A-Z][a-z]+ ') FROM messages"
    )
    assert 900 < int(str(days)) <= 3 * 365 + 1
    assert int(str(newest)) < 60
    assert future == 0
    assert int(str(japanese)) > 50
    assert int(str(english)) > 50


@pytest.mark.usefixtures("seeded")
def test_the_seeds_sequences_stand_behind_its_rows(run_sql: Sql) -> None:
    run_sql("INSERT INTO conversations (user_id, title) SELECT min(id), 'one more' FROM users")
    run_sql("INSERT INTO messages (conversation_id, role, content) SELECT max(id), 'user', 'one more' FROM conversations")


def test_init_db_is_content_with_a_database_that_answers(address: DatabaseAddress) -> None:
    done = python("-c", CHECK, address=address)
    assert done.status == 0, done.stderr


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"port": 0}, "refused"),
        ({"password": SecretStr("not the one")}, "password authentication failed"),
        ({"database": "no such office"}, 'database "no such office" does not exist'),
    ],
    ids=["nobody there", "wrong password", "no database"],
)
def test_init_db_says_what_is_wrong_and_no_password(address: DatabaseAddress, wrong: dict[str, object], said: str) -> None:
    if "port" in wrong:
        wrong = {"port": free_ports(1)[0]}
    done = python("-c", CHECK, address=replace(address, **wrong))  # type: ignore[arg-type]
    assert done.status == 1
    assert "OperationalError" in done.stderr
    assert said in done.stderr
    assert PASSWORD not in done.stderr
