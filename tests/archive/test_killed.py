"""kill -9 anywhere, under concurrent writes: no row is lost, none is there twice, and the next run goes on.

OFFICEOPS_KILLS says how many times (default 40).
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from officeops.archive import states
from officeops.archive.query import query
from officeops.postgres.connect import connected
from officeops.site import Site
from tests.support.archives import POLICY, TALKS, fill, proven
from tests.support.killing_archives import killer
from tests.support.postgres import Running

Sql = Callable[..., list[tuple[object, ...]]]
KILLS = int(os.environ.get("OFFICEOPS_KILLS", "40"))
TEXTS = {"talks": "title", "lines": "body", "notes": "body"}
Oracle = dict[str, dict[int, str | None]]


class Writer:
    """Changes, adds and removes rows for as long as it runs, and knows what each row must be. Only what was committed counts."""

    def __init__(self, address: object, oracle: Oracle, seed: int) -> None:
        self._address, self._oracle, self._random = address, oracle, random.Random(seed)
        self._next, self._stop = 10_000_000, threading.Event()
        self.changes = 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """For the block."""
        self._stop.clear()
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        with connected(self._address, application="a writer") as connection:  # type: ignore[arg-type]
            connection.execute("SET search_path TO public, pg_catalog")
            while not self._stop.is_set():
                table = self._random.choice(list(TEXTS))
                rows = list(self._oracle[table])
                if rows:
                    self._change(connection, table, self._random.choice(rows))
                time.sleep(0.005)

    def _change(self, connection: psycopg.Connection[object], table: str, row: int) -> None:
        text = TEXTS[table]
        what = self._random.random()
        if what < 0.5:
            value = f"changed {self._next}"
            if connection.execute(f"UPDATE {table} SET {text} = %s WHERE id = %s".encode(), (value, row)).rowcount:
                self._oracle[table][row] = value
        elif what < 0.8 and table != "notes":
            child, parent = {"talks": ("lines", "talk"), "lines": ("notes", "line")}[table]
            at = (", at", ", now()") if child == "lines" else ("", "")
            statement = f"INSERT INTO {child} (id, {parent}, body{at[0]}) VALUES (%s, %s, 'late'{at[1]})".encode()
            try:
                connection.execute(statement, (self._next, row))
                self._oracle[child][self._next] = "late"
            except psycopg.errors.ForeignKeyViolation:
                pass  # it has left
        elif table == "notes" and connection.execute("DELETE FROM notes WHERE id = %s", (row,)).rowcount:
            del self._oracle["notes"][row]
        self._next += 1
        self.changes += 1


def found(site: Site, run_sql: Sql) -> dict[str, list[tuple[int, str | None]]]:
    """Live and archived rows together, by table."""
    both = " UNION ALL ".join(f"SELECT '{table}', id, {text} FROM {table}" for table, text in TEXTS.items())
    rows = run_sql(both)
    if run_sql("SELECT to_regclass('officeops.archive_batches')") != [(None,)]:
        with states.session(site, "test") as connection:
            left = any(record.state in ("deleting", "done") for record in states.batches(connection))
        rows += query(site, both).rows if left else []
    return {table: sorted((int(str(row)), None if text is None else str(text)) for at, row, text in rows if at == table) for table in TEXTS}


def test_no_row_is_lost_or_there_twice(site_of: Callable[..., Site], run_sql: Sql, postgres: Running, database: str) -> None:
    chance = random.Random(int(os.environ.get("OFFICEOPS_SEED", "20261124")))
    run_sql(TALKS)
    site = site_of(POLICY.replace("grace", "batch_size: 40, grace"))
    proven(site)
    oracle: Oracle = {table: {} for table in TEXTS}
    writer, first, kills, moments = Writer(postgres.address(database), oracle, chance.randrange(1 << 30)), 1, 0, 400

    def top_up() -> None:
        nonlocal first
        if run_sql("SELECT count(*) < 60 FROM talks WHERE at < now() - interval '30 days'") == [(False,)]:
            return
        fill(run_sql, 40, 2, first=first)
        for table, text in TEXTS.items():
            rows = run_sql(f"SELECT id, {text} FROM {table}")
            oracle[table].update({int(str(row)): None if value is None else str(value) for row, value in rows})
        first += 42

    def known() -> dict[str, list[tuple[int, str | None]]]:
        return {table: sorted(rows.items()) for table, rows in oracle.items()}

    def done_batches() -> list[str]:
        with states.session(site, "test") as connection:
            return [record.id for record in states.batches(connection) if record.state == "done"]

    with killer(site.config.folder) as killed:
        while kills < KILLS:
            done = done_batches()
            back = chance.choice(done) if done and chance.random() < 0.4 else ""
            if not back:
                top_up()
            with writer.writing():
                was, counted = killed(back, chance.randrange(60 if back else moments))
            kills += was
            moments = max(moments, counted)
            assert found(site, run_sql) == known(), (kills, back)
        for _ in range(2):  # rows before those of a batch that waits are listed when it is done
            assert killed("", -1)[0] is False
    assert found(site, run_sql) == known()
    assert writer.changes > KILLS
    assert run_sql("SELECT count(*) FROM talks WHERE at < now() - interval '30 days'") == [(0,)]
    with states.session(site, "test") as connection:
        assert {record.state for record in states.batches(connection)} == {"done"}
