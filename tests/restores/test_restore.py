"""Restoring the live database: beside it, compared, swapped; and back."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from officeops.errors import OfficeOpsError, UsageError
from officeops.postgres import databases, tools
from officeops.process import run
from officeops.restores.restore import Restore, Undo, previous_database, put_in_order
from officeops.restores.source import FileSource, Source
from officeops.site import Site
from officeops.streams import DamagedError
from tests.support.backups import back_up, load_beside, source

Sql = Callable[..., list[tuple[object, ...]]]
NewSite = Callable[..., Site]


@pytest.fixture
def site(new_site: NewSite, run_sql: Sql) -> Site:
    run_sql("CREATE TABLE notes (id int PRIMARY KEY, body text)")
    run_sql("INSERT INTO notes SELECT n, 'note ' || n FROM generate_series(1, 1000) n")
    return new_site()


def restore(site: Site, given: Source) -> str | None:
    """As the flow does. Returns the previous database's name."""
    with Restore.begin(site, given) as run_:
        load_beside(run_.beside)
        run_.beside.analyze()
        run_.swap.stop_writers()
        run_.swap.swap()
        run_.swap.ask()
        run_.swap.start_writers()
        run_.swap.finish()
    return run_.swap.previous


def dump_file(site: Site, path: Path, *options: str) -> Path:
    """A dump made by hand, with the plain tool."""
    path.write_bytes(run(site.stack.tool(["pg_dump", *options, "-d", site.config.settings.postgres_db]), timeout=60).stdout)
    return path


def test_brings_back_what_was_lost_and_keeps_what_was_there(site: Site, run_sql: Sql) -> None:
    back_up(site)
    run_sql("DELETE FROM notes WHERE id > 3")
    previous = restore(site, source(site))
    assert run_sql("SELECT count(*) FROM notes") == [(1000,)]
    assert previous is not None
    assert run_sql("SELECT count(*) FROM notes", previous) == [(3,)]


def test_can_be_undone_and_undone_again(site: Site, run_sql: Sql) -> None:
    back_up(site)
    run_sql("DELETE FROM notes WHERE id > 3")
    restore(site, source(site))
    for expected in (3, 1000):
        with Undo.begin(site) as undo:
            undo.swap.stop_writers()
            undo.swap.swap()
            undo.swap.start_writers()
            undo.swap.finish()
        assert run_sql("SELECT count(*) FROM notes") == [(expected,)]


def test_there_is_nothing_to_undo_at_first(site: Site) -> None:
    with pytest.raises(UsageError, match="no previous database"):
        Undo.begin(site)


def test_restores_when_the_live_database_is_gone(site: Site, run_sql: Sql, database: str) -> None:
    back_up(site)
    run_sql(f"DROP DATABASE {database} WITH (FORCE)", "postgres")
    assert restore(site, source(site)) is None
    assert run_sql("SELECT count(*) FROM notes") == [(1000,)]


def test_what_belongs_to_the_database_and_is_in_no_dump_comes_along(site: Site, run_sql: Sql, database: str) -> None:
    run_sql(f"""ALTER DATABASE {database} SET search_path TO "$user", public, "odd schema";
        ALTER DATABASE {database} SET work_mem TO '7MB'; ALTER DATABASE {database} CONNECTION LIMIT 33;
        COMMENT ON DATABASE {database} IS 'the office''s'; REVOKE CONNECT ON DATABASE {database} FROM PUBLIC""")
    query = f"""SELECT setconfig::text, datconnlimit, shobj_description(d.oid, 'pg_database'),
            (SELECT array_agg(a::text ORDER BY a::text) FROM aclexplode(datacl) a)
        FROM pg_database d JOIN pg_db_role_setting s ON s.setdatabase = d.oid WHERE datname = '{database}'"""
    before = run_sql(query)
    back_up(site)
    restore(site, source(site))
    assert run_sql(query) == before


@pytest.mark.parametrize("step", ["load", "compare", "swap", "ask"])
def test_a_failure_leaves_the_live_database_serving(
    site: Site, run_sql: Sql, database: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(site)
    run_sql("INSERT INTO notes VALUES (5000, 'written after the backup')")

    def fail(*_arguments: object) -> None:
        raise OfficeOpsError("told to fail")

    with pytest.raises(OfficeOpsError, match="told to fail"), Restore.begin(site, source(site)) as run_:
        monkeypatch.setattr(run_.beside if step in ("load", "compare") else run_.swap, step, fail)
        load_beside(run_.beside)
        run_.swap.stop_writers()
        run_.swap.swap()
        run_.swap.ask()
    assert run_sql("SELECT count(*) FROM notes") == [(1001,)]
    with databases.maintenance(site.stack.database(), application="test") as connection:
        assert [name for name in databases.names(connection) if name.startswith(database)] == [database]
    assert list((site.home / "spool").iterdir()) == []


@pytest.mark.parametrize("reached", ["begin", "fetch", "load", "stop_writers", "swap"])
def test_a_killed_restore_is_ended_by_the_next_command(site: Site, run_sql: Sql, database: str, reached: str) -> None:
    back_up(site)
    run_sql("DELETE FROM notes WHERE id > 3")
    killed = Restore.begin(site, source(site))
    steps = {
        "begin": lambda: None,
        "fetch": killed.beside.fetch,
        "load": killed.beside.load,
        "stop_writers": killed.swap.stop_writers,
        "swap": killed.swap.swap,
    }
    for name, verb in steps.items():
        verb()
        if name == reached:
            break
    # The process is gone here: nothing of its own cleaning up runs.
    assert put_in_order(site) == [killed.operation]
    operation = site.ledger.operation(killed.operation)
    assert operation is not None
    swapped = reached == "swap"
    assert operation.outcome == ("done" if swapped else "undone")
    assert run_sql("SELECT count(*) FROM notes") == [(1000 if swapped else 3,)]
    with databases.maintenance(site.stack.database(), application="test") as connection:
        assert len([name for name in databases.names(connection) if name.startswith(database)]) == (2 if swapped else 1)
    assert not (site.home / "spool" / killed.operation).exists()
    assert (previous_database(site) is not None) == swapped


@pytest.mark.parametrize("name", ["made.sql", "made.sql.gz", "made.dump", "made.dump.zst"])
def test_restores_a_file_made_by_hand(site: Site, run_sql: Sql, tmp_path: Path, name: str) -> None:
    path = dump_file(site, tmp_path / name, "-Fc" if ".dump" in name else "-Fp")
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    if name.endswith(".zst"):
        import zstandard

        path.write_bytes(zstandard.compress(path.read_bytes()))
    run_sql("DROP TABLE notes")
    restore(site, FileSource(path, None))
    assert run_sql("SELECT count(*) FROM notes") == [(1000,)]


def test_a_script_that_is_cut_at_the_boundary_of_a_row_is_refused(site: Site, run_sql: Sql, tmp_path: Path) -> None:
    path = dump_file(site, tmp_path / "cut.sql")
    lines = path.read_bytes().splitlines(keepends=True)
    cut = next(number for number, line in enumerate(lines) if line.startswith(b"500\t"))
    path.write_bytes(b"".join(lines[:cut]))
    with pytest.raises(DamagedError, match="is cut short"):
        restore(site, FileSource(path, None))
    assert run_sql("SELECT count(*) FROM notes") == [(1000,)]


@pytest.mark.parametrize("keep", [0.5, 0.98])
def test_an_archive_that_is_cut_is_refused(site: Site, tmp_path: Path, keep: float) -> None:
    path = dump_file(site, tmp_path / "cut.dump", "-Fc", "-Z0")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(UsageError, match="damaged or cut short"):
        restore(site, FileSource(path, None))


def test_a_script_that_would_leave_its_database_is_refused(site: Site, run_sql: Sql, tmp_path: Path) -> None:
    path = dump_file(site, tmp_path / "create.sql", "--create", "--clean")
    with pytest.raises(UsageError, match="connects to a database of its own choice"):
        restore(site, FileSource(path, None))
    assert run_sql("SELECT count(*) FROM notes") == [(1000,)]


def test_something_else_than_a_dump_is_refused(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(b"\xff\xd8\xff" + bytes(100))
    with pytest.raises(UsageError, match="no dump of PostgreSQL"):
        restore(site, FileSource(path, None))


def test_a_role_that_the_server_lost_comes_back_as_it_was(site: Site, run_sql: Sql, database: str) -> None:
    role = f"{database} reader"
    run_sql(f"""CREATE ROLE "{role}" LOGIN PASSWORD 'kept as it was'; GRANT SELECT ON notes TO "{role}" """)
    verifier = run_sql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'")
    back_up(site)
    try:
        run_sql(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')
        restore(site, source(site))
        assert run_sql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'") == verifier
    finally:
        for name in (database, *filter(None, [previous_database(site)])):
            run_sql(f'DROP OWNED BY "{role}"', name)
        run_sql(f'DROP ROLE "{role}"')


def test_the_way_by_hand_that_it_replaces_loses_what_is_cut(site: Site, run_sql: Sql, tmp_path: Path) -> None:
    """Why the trailer is required: psql calls a cut script a success."""
    path = dump_file(site, tmp_path / "cut.sql")
    lines = path.read_bytes().splitlines(keepends=True)
    cut = next(number for number, line in enumerate(lines) if line.startswith(b"500\t"))
    name = databases.side_name(site.config.settings.postgres_db, "hand", "1")
    with databases.maintenance(site.stack.database(), application="test") as connection:
        databases.create_like(connection, name, None)
    command = site.stack.tool(["psql", "-X", "-q", "-d", tools.connection_string(name)])
    done = subprocess.run(command.argv, input=b"".join(lines[:cut]), env=command.environment(), capture_output=True, check=False)
    assert done.returncode == 0
    assert run_sql("SELECT count(*) FROM notes", name) == [(499,)]
