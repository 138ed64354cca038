"""Migrations on a real database: forward while others run, and back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from psycopg.sql import SQL, Identifier

from officeops.errors import OfficeOpsError, RefusedError, UsageError
from officeops.postgres import databases
from officeops.postgres.connect import connected
from officeops.progress import Step, shown_by
from officeops.releases.running import Limits, MigrationError, SchemaLockedError, alone
from officeops.releases.schema import MigrationPlan, Schema
from officeops.site import Site
from tests.support.backend import alembic
from tests.support.migrations import HEAD, RUNBOOK, MigratingStack, Written, with_stack
from tests.support.ports import eventually
from tests.support.postgres import Running
from tests.support.site import make_site

Sql = Callable[..., list[tuple[object, ...]]]
MAIL = Written("x1", "ALTER TABLE users ADD COLUMN mail text", "ALTER TABLE users DROP COLUMN mail")
NO_ROOMS = Written("x2", "DROP TABLE sensor_readings", "CREATE TABLE sensor_readings (id int)", contract=True)
PHONE = Written("x3", "ALTER TABLE users ADD COLUMN phone text", "ALTER TABLE users DROP COLUMN phone")
HASTY = Limits(timeout=60, pauses=(0.1, 0.2, 0.5, 1, 2))


@pytest.fixture
def site(folder: Any, postgres: Any, database: str, migrating: MigratingStack) -> Site:
    return with_stack(make_site(folder, postgres, database, RUNBOOK), migrating)


@pytest.fixture
def schema(site: Site) -> Schema:
    return Schema(site, HASTY)


@pytest.fixture(scope="module")
def template(postgres: Running) -> Iterator[str]:
    """A database with the backend's own revisions, to be copied."""
    name = "migrated_template"
    with databases.maintenance(postgres.address(), application="test") as connection:
        databases.create_like(connection, name, None)
        alembic("upgrade", "head", address=postgres.address(name))
        yield name
        databases.drop(connection, name)


@pytest.fixture
def at_head(postgres: Running, database: str, template: str) -> None:
    """The database has the backend's own revisions."""
    with databases.maintenance(postgres.address(), application="test") as connection:
        databases.drop(connection, database)
        connection.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(database), Identifier(template)))


def columns(run_sql: Sql, table: str) -> set[object]:
    return {
        row[0]
        for row in run_sql(f"SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped")
    }


def ids(things: Any) -> list[str]:
    return [getattr(one, "revision", one).id for one in things]


@contextmanager
def holding(migrating: MigratingStack, table: str) -> Iterator[Callable[[], None]]:
    """A transaction that has the table for itself. Gives what ends it."""
    with connected(migrating.address, application="somebody", autocommit=False) as connection:
        connection.execute(f"LOCK TABLE public.{table} IN ACCESS EXCLUSIVE MODE".encode())
        yield connection.rollback


def sessions(run_sql: Sql) -> list[object]:
    return [row[0] for row in run_sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'officeops migration'")]


# Plans


def test_a_new_database_takes_everything_contract_revisions_too(migrating: MigratingStack, schema: Schema, run_sql: Sql) -> None:
    release = migrating.release("a", MAIL, NO_ROOMS, PHONE)
    plan = schema.plan(release)
    assert (plan.current, plan.target, plan.contract) == (None, "x3", ())
    assert ids(plan.expand)[-3:] == ["x1", "x2", "x3"]
    assert "CREATE TABLE users" in str(plan.expand[0].sql)
    done = schema.expand(release, plan)
    assert (done.before, done.after, schema.current()) == (None, "x3", "x3")
    assert columns(run_sql, "public.users") >= {"mail", "phone"}


@pytest.mark.usefixtures("at_head")
def test_a_plan_changes_nothing_and_shows_sql_and_dangers(migrating: MigratingStack, schema: Schema) -> None:
    release = migrating.release("a", MAIL, Written("bad", "CREATE INDEX ix ON messages (role)"))
    plan = schema.plan(release)
    assert (plan.current, plan.target, plan.ahead) == (HEAD, "bad", False)
    assert "ALTER TABLE users ADD COLUMN mail text" in str(plan.expand[0].sql)
    assert [(one.revision, one.rule) for one in plan.findings] == [("bad", "require-concurrent-index-creation")]
    assert schema.current() == HEAD


@pytest.mark.usefixtures("at_head")
def test_a_release_without_anything_new_has_an_empty_plan(migrating: MigratingStack, schema: Schema) -> None:
    release = migrating.release("a")
    plan = schema.plan(release)
    assert (plan.target, plan.expand, plan.contract, migrating.asked) == (HEAD, (), (), [])
    assert schema.expand(release, plan).revisions == ()


@pytest.mark.usefixtures("at_head")
def test_contract_revisions_wait(migrating: MigratingStack, schema: Schema, run_sql: Sql) -> None:
    release = migrating.release("a", MAIL, NO_ROOMS)
    plan = schema.plan(release)
    assert (ids(plan.expand), ids(plan.contract), plan.target) == (["x1"], ["x2"], "x1")
    schema.expand(release, plan)
    assert schema.current() == "x1"
    assert columns(run_sql, "public.sensor_readings")


@pytest.mark.usefixtures("at_head")
def test_what_comes_after_a_waiting_contract_revision_is_not_planned(migrating: MigratingStack, schema: Schema) -> None:
    with pytest.raises(OfficeOpsError, match=r"x3, which comes after the contract revision x2.*officeops migrate contract"):
        schema.plan(migrating.release("a", MAIL, NO_ROOMS, PHONE))


def test_a_database_ahead_of_the_release_is_left_alone(migrating: MigratingStack, schema: Schema) -> None:
    newer, older = migrating.release("a", MAIL), migrating.release("b")
    schema.expand(newer, schema.plan(newer))
    plan = schema.plan(older)
    assert (plan.ahead, plan.current, plan.expand) == (True, "x1", ())
    assert schema.expand(older, plan).after == "x1"


@pytest.mark.usefixtures("at_head")
def test_a_revision_whose_sql_cannot_be_printed_says_so_and_the_others_are_looked_at(migrating: MigratingStack, schema: Schema) -> None:
    reads = Written("reads", "py:[row for row in op.get_bind().execute(None)]")
    plan = schema.plan(migrating.release("a", reads, Written("bad", "DROP INDEX ix_audit_log_at")))
    assert (plan.expand[0].sql, plan.expand[0].findings) == (None, ())
    assert "unknown" in plan.expand[0].note
    assert [one.rule for one in plan.findings] == ["require-concurrent-index-deletion"]
    assert plan.expand[1].note == ""


def test_an_application_without_a_folder_of_revisions_runs_its_own_program(
    folder: Any, postgres: Any, database: str, migrating: MigratingStack
) -> None:
    runbook = RUNBOOK.replace("application: {migrations: backend/alembic/versions}\n", "")
    schema = Schema(with_stack(make_site(folder, postgres, database, runbook), migrating), HASTY)
    release = migrating.release("a")
    plan = schema.plan(release)
    assert plan == MigrationPlan(None, None, planned=False)
    schema.expand(release, plan)
    assert migrating.migrated == [release.sha]


# Expand


@pytest.mark.usefixtures("at_head")
def test_expand_again_is_no_harm(migrating: MigratingStack, schema: Schema) -> None:
    release = migrating.release("a", MAIL)
    plan = schema.plan(release)
    assert ids(schema.expand(release, plan).revisions) == ["x1"]
    assert ids(schema.expand(release, plan).revisions) == []
    assert schema.current() == "x1"


@pytest.mark.usefixtures("at_head")
def test_progress_is_counted_in_revisions(migrating: MigratingStack, schema: Schema) -> None:
    release, steps = migrating.release("a", MAIL, PHONE), list[Step]()
    plan = schema.plan(release)
    with shown_by(steps.append):
        schema.expand(release, plan)
    assert (steps[0].name, steps[0].total, steps[0].unit) == ("migrate", 2, "revisions")
    assert (steps[-1].done, steps[-1].finished) == (2, True)


@pytest.mark.usefixtures("at_head")
def test_a_failing_revision_leaves_the_schema_where_it_was(migrating: MigratingStack, schema: Schema, run_sql: Sql) -> None:
    release = migrating.release("a", MAIL, Written("broken", "ALTER TABLE users ADD COLUMN half text; SELECT 1 / 0"))
    with pytest.raises(MigrationError, match=r"(?s)^The migration failed: sqlalchemy[^\n]*division by zero.*The schema is at x1"):
        schema.expand(release, schema.plan(release))
    assert schema.current() == "x1"
    assert columns(run_sql, "public.users") & {"mail", "half"} == {"mail"}


@pytest.mark.usefixtures("at_head")
def test_a_migration_that_waits_for_a_lock_gives_up_and_gets_it_later(migrating: MigratingStack, site: Site, run_sql: Sql) -> None:
    release, pauses = migrating.release("a", MAIL), list[float]()

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            let_go()

    schema = Schema(site, Limits(pauses=(1, 2, 3), sleep=pause))
    plan = schema.plan(release)
    with holding(migrating, "users") as let_go:
        assert schema.expand(release, plan).after == "x1"
    assert pauses == [1, 2]


@pytest.mark.usefixtures("at_head")
def test_a_lock_that_is_never_free_is_told_with_who_holds_it(migrating: MigratingStack, site: Site) -> None:
    release = migrating.release("a", MAIL)
    schema = Schema(site, Limits(pauses=(0,)))
    plan = schema.plan(release)
    with (
        holding(migrating, "users"),
        pytest.raises(MigrationError, match=rf"in 2 tries.*somebody.*idle in transaction.*The schema is at {HEAD}"),
    ):
        schema.expand(release, plan)
    assert [asked for asked in migrating.asked if "--sql" not in asked] == [["upgrade", "x1"]]


@pytest.mark.usefixtures("at_head")
def test_a_hanging_migration_is_ended_with_its_session(migrating: MigratingStack, site: Site, run_sql: Sql) -> None:
    release = migrating.release("a", MAIL, Written("hangs", "SELECT pg_sleep(600)"))
    schema = Schema(site, Limits(timeout=12, pauses=()))
    plan = schema.plan(release)
    with pytest.raises(MigrationError, match=r"more than 12 s.*The schema is at x1"):
        schema.expand(release, plan)
    assert sessions(run_sql) == []


@pytest.mark.usefixtures("at_head")
def test_what_a_killed_migration_left_in_the_database_is_ended_by_the_next_one(
    migrating: MigratingStack, schema: Schema, run_sql: Sql
) -> None:
    with connected(migrating.address, application="officeops migration", autocommit=False) as left:
        left.execute("LOCK TABLE public.users IN ACCESS EXCLUSIVE MODE")
        release = migrating.release("a", MAIL)
        assert schema.expand(release, schema.plan(release)).after == "x1"
        assert left.pgconn.socket >= 0
    assert sessions(run_sql) == []


@pytest.mark.usefixtures("at_head")
def test_of_two_at_once_one_waits_for_the_other(migrating: MigratingStack, site: Site) -> None:
    release = migrating.release(
        "a", Written("slow", "py:op.execute('ALTER TABLE users ADD COLUMN slow text')\nop.execute('SELECT pg_sleep(1)')")
    )
    plan = Schema(site, HASTY).plan(release)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: Schema(site, HASTY).expand(release, plan), range(2)))
    assert sorted(ids(one.revisions) for one in done) == [[], ["slow"]]
    assert [asked for asked in migrating.asked if "--sql" not in asked] == [["upgrade", "slow"]]


def test_one_that_waits_too_long_for_another_is_refused(site: Site) -> None:
    with alone(site, HASTY), pytest.raises(SchemaLockedError, match="Another migration"), alone(site, Limits(timeout=0.3)):
        pass


@pytest.mark.usefixtures("at_head")
def test_an_index_is_made_concurrently_while_another_migration_waits_for_its_turn(migrating: MigratingStack, site: Site) -> None:
    index = "py:with op.get_context().autocommit_block():\n    op.execute('CREATE INDEX CONCURRENTLY ix_x ON users (name)')"
    release = migrating.release("a", Written("index", index))
    plan, over = Schema(site, HASTY).plan(release), threading.Event()

    def wait_for_turn() -> None:
        with alone(site, HASTY):
            over.set()

    with ThreadPoolExecutor(1) as pool, holding(migrating, "users") as let_go:
        running = pool.submit(Schema(site, HASTY).expand, release, plan)
        eventually(lambda: any(asked == ["upgrade", "index"] for asked in migrating.asked), what="the migration's start")
        waiter = threading.Thread(target=wait_for_turn)
        waiter.start()
        time.sleep(0.3)
        let_go()
        assert running.result(60).after == "index"
        waiter.join(60)
    assert over.is_set()


# Contract


@pytest.fixture
def contracting(at_head: None, migrating: MigratingStack, schema: Schema) -> tuple[Any, Any]:
    """An older release and the one that runs, which brought a contract revision that waits."""
    older, newer = migrating.release("old", MAIL), migrating.release("new", MAIL, NO_ROOMS)
    schema.expand(newer, schema.plan(newer))
    migrating.deploy(newer)
    return older, newer


def test_contract_is_refused_while_a_retained_release_needs_the_old_shape(
    contracting: tuple[Any, Any], schema: Schema, run_sql: Sql
) -> None:
    older, newer = contracting
    for refused in (schema.plan_contract, schema.contract):
        with pytest.raises(RefusedError, match=r"The release old0000000 was made before the contract revision x2"):
            refused([newer, older])
    assert schema.current() == "x1"
    assert columns(run_sql, "public.sensor_readings")


def test_contract_applies_what_waits_once(contracting: tuple[Any, Any], schema: Schema, run_sql: Sql) -> None:
    _, newer = contracting
    (planned,) = schema.plan_contract([newer])
    assert (planned.revision.id, [one.rule for one in planned.findings]) == ("x2", ["ban-drop-table"])
    done = schema.contract([newer])
    assert (done.before, done.after, ids(done.revisions)) == ("x1", "x2", ["x2"])
    assert run_sql("SELECT to_regclass('public.sensor_readings')") == [(None,)]
    assert schema.contract([newer]).revisions == ()
    assert schema.plan_contract([newer]) == ()


def test_contract_makes_way_for_what_comes_after_it(contracting: tuple[Any, Any], migrating: MigratingStack, schema: Schema) -> None:
    next_one = migrating.release("next", MAIL, NO_ROOMS, PHONE)
    with pytest.raises(OfficeOpsError, match="migrate contract"):
        schema.plan(next_one)
    schema.contract([contracting[1]])
    assert ids(schema.plan(next_one).expand) == ["x3"]


def test_before_the_first_release_there_is_nothing_to_contract(schema: Schema) -> None:
    with pytest.raises(UsageError, match="No release"):
        schema.contract([])


# A start


def test_a_database_that_has_nothing_gets_everything(migrating: MigratingStack, schema: Schema) -> None:
    release = migrating.release("a", MAIL, NO_ROOMS)
    schema.bring_forward(release)
    assert migrating.migrated == [release.sha]


@pytest.mark.usefixtures("at_head")
def test_a_start_brings_the_schema_to_before_the_first_contract_revision_and_never_back(migrating: MigratingStack, schema: Schema) -> None:
    older, newer = migrating.release("old"), migrating.release("new", MAIL, NO_ROOMS)
    for release, before in ((newer, HEAD), (newer, "x1"), (older, "x1")):
        done = schema.bring_forward(release)
        assert (done.before, done.after, schema.current()) == (before, "x1", "x1")
    assert migrating.migrated == []


@pytest.mark.usefixtures("at_head")
def test_a_release_whose_migrations_are_on_another_line_is_told_before_it_is_deployed(migrating: MigratingStack, schema: Schema) -> None:
    newer, other = migrating.release("new", MAIL), migrating.release("other", Written("y1", "SELECT 1"))
    migrating.deploy(newer)
    schema.expand(newer, schema.plan(newer))
    with pytest.raises(OfficeOpsError, match=r"other00000 \(up to y1\) are not those that the database has \(up to x1\)"):
        schema.plan(other)
    assert schema.keeper("x1") == newer.sha
    migrating.releases.remove(newer)
    migrating.deploy(other)
    assert schema.plan(other).ahead
    assert schema.keeper("x1") is None


# Back


@pytest.mark.usefixtures("at_head")
def test_a_downgrade_is_taken_back_by_the_program_that_knows_how(migrating: MigratingStack, schema: Schema) -> None:
    older, newer = migrating.release("old"), migrating.release("new", MAIL, PHONE)
    migrating.deploy(newer)
    schema.expand(newer, schema.plan(newer))
    schema.downgrade(HEAD)
    migrating.deploy(older)
    done = schema.upgrade_again("x3")
    assert (done.before, done.after, schema.current()) == (HEAD, "x3", "x3")


@pytest.mark.usefixtures("at_head")
def test_an_older_release_runs_on_a_schema_that_was_only_expanded(migrating: MigratingStack, schema: Schema) -> None:
    older, newer = migrating.release("old"), migrating.release("new", MAIL)
    schema.expand(newer, schema.plan(newer))
    migrating.deploy(newer)
    found = schema.downgrades(older)
    assert (found.needed, found.current, found.target, found.revisions) == (False, "x1", "x1", ())
    assert schema.downgrades(newer).needed is False


@pytest.mark.usefixtures("at_head")
def test_a_contracted_schema_must_go_back_to_before_the_contract_and_no_further(
    migrating: MigratingStack, schema: Schema, run_sql: Sql
) -> None:
    migrating.release("old")
    drops = "DROP TABLE later"
    newer = migrating.release(
        "new", MAIL, NO_ROOMS, Written("x4", "CREATE TABLE later (id int); INSERT INTO later SELECT generate_series(1, 1200)", drops)
    )
    alembic_of(migrating, newer, "upgrade", "head")
    migrating.deploy(newer)
    found = schema.downgrades(migrating.releases[1])
    assert (found.needed, found.current, found.target, ids(found.revisions)) == (True, "x4", "x1", ["x4", "x2"])
    assert found.drops == ("table later, 1,200 rows",)
    assert "CREATE TABLE sensor_readings" in str(found.sql)
    schema.downgrade(str(found.target))
    assert schema.current() == "x1"
    assert schema.downgrades(migrating.releases[1]).needed is False


@pytest.mark.usefixtures("at_head")
def test_a_release_of_another_history_is_told(migrating: MigratingStack, schema: Schema) -> None:
    other, newer = migrating.release("other", Written("y1", "SELECT 1")), migrating.release("new", MAIL)
    schema.expand(newer, schema.plan(newer))
    migrating.deploy(newer)
    with pytest.raises(OfficeOpsError, match=r"other00000 \(up to y1\) are not those that the database has \(up to x1\)"):
        schema.downgrades(other)


@pytest.mark.usefixtures("at_head")
@pytest.mark.parametrize(("target", "after"), [("-1", "x1"), ("-2", HEAD), (HEAD, HEAD), ("base", None)])
def test_a_downgrade_names_its_target_in_three_ways(migrating: MigratingStack, schema: Schema, target: str, after: str | None) -> None:
    release = migrating.release("a", MAIL, PHONE)
    schema.expand(release, schema.plan(release))
    migrating.deploy(release)
    plan = schema.plan_downgrade(target)
    assert (plan.current, plan.target, plan.needed) == ("x3", after, True)
    assert plan.drops[0] == ("column users.phone" if target != "base" else plan.drops[0])
    done = schema.downgrade(target)
    assert (done.before, done.after, schema.current(), ids(done.revisions)) == ("x3", after, after, ids(plan.revisions))


@pytest.mark.usefixtures("at_head")
def test_all_the_way_down_says_what_goes_with_its_rows(migrating: MigratingStack, schema: Schema, run_sql: Sql) -> None:
    migrating.deploy(migrating.release("a"))
    run_sql("INSERT INTO rooms (name, floor) VALUES ('1', 1), ('2', 2)")
    drops = schema.plan_downgrade("base").drops
    assert "table rooms, 2 rows" in drops
    assert not any("alembic_version" in one for one in drops)


@pytest.mark.usefixtures("at_head")
@pytest.mark.parametrize("target", ["x3", "0099", "-9", "-0", "--sql", "+1"])
def test_a_target_that_is_not_below_is_bad_usage(migrating: MigratingStack, schema: Schema, target: str) -> None:
    migrating.deploy(migrating.release("a", MAIL, PHONE))
    for refused in (schema.plan_downgrade, schema.downgrade):
        with pytest.raises(UsageError):
            refused(target)
    assert (schema.current(), migrating.asked) == (HEAD, [])


@pytest.mark.usefixtures("at_head")
def test_the_release_that_knows_the_revision_undoes_it_even_when_another_runs(migrating: MigratingStack, schema: Schema) -> None:
    older, newer = migrating.release("old"), migrating.release("new", MAIL)
    schema.expand(newer, schema.plan(newer))
    migrating.deploy(older)
    assert schema.downgrade("-1").after == HEAD
    alembic_of(migrating, newer, "upgrade", "head")
    migrating.releases.remove(newer)
    with pytest.raises(OfficeOpsError, match="No release on this host knows the revision x1"):
        schema.downgrade("-1")


@pytest.mark.usefixtures("at_head")
def test_stamp_writes_a_revision_down_and_changes_nothing_else(migrating: MigratingStack, schema: Schema, run_sql: Sql) -> None:
    migrating.deploy(migrating.release("a", MAIL))
    run_sql("UPDATE alembic_version SET version_num = 'nobody knows'")
    assert schema.stamp("x1").after == "x1"
    assert "mail" not in columns(run_sql, "public.users")
    assert schema.stamp("base").after is None
    with pytest.raises(UsageError, match="0099"):
        schema.stamp("0099")


@pytest.mark.usefixtures("at_head")
def test_history_says_what_the_database_has(migrating: MigratingStack, schema: Schema) -> None:
    migrating.deploy(migrating.release("a", MAIL))
    known = schema.history()
    assert [(one.revision.id, one.applied, one.current) for one in known][-2:] == [(HEAD, True, True), ("x1", False, False)]
    assert known[-1].revision.doc == "What x1 does."


def alembic_of(migrating: MigratingStack, release: Any, *arguments: str) -> None:
    from officeops.process import run

    run(migrating.migration(release, arguments), timeout=60)
    migrating.asked.clear()
