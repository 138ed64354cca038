"""Rows come back: parents first, as they were, and only where nothing is in their way. What came back is noted in the same transaction."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from officeops.archive import files, sql, states, targets
from officeops.archive.manifest import ArchivedTable, ArchiveManifest
from officeops.archive.pace import MOST_ROWS, Pace
from officeops.archive.removal import Listed, slices
from officeops.archive.shape import FINGERPRINT, UNIT, Column, Table, quoted
from officeops.errors import RefusedError, UsageError
from officeops.progress import Meter

if TYPE_CHECKING:
    import pyarrow as pa
    from psycopg import Connection

    from officeops.site import Site

_MOST_CONFLICTS = 1_000


@dataclass
class Returned:
    """What came back. rows: by table. conflicts: units that did not, each with the reason; only the first thousand are named.
    refused: how many those are in all."""

    batch: str
    rows: dict[str, int] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    refused: int = 0
    seconds: float = 0.0

    def add_conflict(self, text: str) -> None:
        """One more unit that does not come back."""
        self.refused += 1
        if len(self.conflicts) < _MOST_CONFLICTS:
            self.conflicts.append(text)


class _DifferentError(Exception):
    """The table made other values of the rows than were archived."""


class Return:
    """Brings a batch back, or the units whose row of the policy's table meets a condition. The caller holds the stack's lock. May be run
    again: what came back is not archived any more. dry_run: every transaction is taken back, so that only the result says what would be."""

    def __init__(self, site: Site, batch: str, *, where: str = "", dry_run: bool = False) -> None:
        with states.session(site, "unarchive") as connection:
            record = states.batch(connection, batch)
        if record.state != "done":
            raise RefusedError(
                f"The batch {record.id} is {record.state}: its rows have not all left the database yet.",
                state="Nothing was changed.",
                todo="`officeops archive` ends it first.",
            )
        self._site, self._record, self._where, self._dry_run = site, record, where, dry_run
        self._spool = site.home / "spool" / f"unarchive-{record.id}"
        self._tables = [_as_archived(table) for table in record.contents.tables]
        self.result = Returned(record.id, {table.label: 0 for table in record.contents.tables})

    def run(self) -> Returned:
        """Until every unit was looked at. Raises UsageError when the tables have no place for the rows any more."""
        began = self._site.clock()
        manifest = self._record.contents
        try:
            for table in manifest.tables:
                targets.fetched_from_any(self._site, self._record.targets, table, self._spool / Path(table.object).name)
            with states.session(self._site, f"unarchive {self._record.id}") as connection:
                self._prepare(connection, manifest)
                self._all(connection, manifest)
        finally:
            shutil.rmtree(self._spool, ignore_errors=True)
        self.result.seconds = (self._site.clock() - began).total_seconds()
        return self.result

    def _prepare(self, connection: Connection[Any], manifest: ArchiveManifest) -> None:
        connection.execute("SET lock_timeout = '5s'")
        connection.execute("SET enable_mergejoin = off")
        for position, (table, archived) in enumerate(zip(self._tables, manifest.tables, strict=True)):
            _require_columns(connection, table, archived)
            columns = [column.name for column in table.columns]
            connection.execute(sql.create_loaded(_loaded(position), table, columns=columns, transactional=True).encode())
        connection.execute("CREATE TEMPORARY TABLE officeops_refused (unit int, why text) ON COMMIT DELETE ROWS")

    def _all(self, connection: Connection[Any], manifest: ArchiveManifest) -> None:
        listed = [
            Listed(self._spool / Path(archived.object).name, [column.name for column in table.columns], manifest.units)
            for table, archived in zip(self._tables, manifest.tables, strict=True)
        ]
        for one in listed:
            one.go_to(0)
        pace = Pace(self._site.home / "archive.pause")
        meter = Meter("bring back", manifest.rows, unit="rows", every=MOST_ROWS)
        at = [0] * len(listed)
        for part in slices([one.counts for one in listed], at, pace, whole_units=True):
            taken = [one.take(rows) if rows else None for one, rows in zip(listed, part.rows, strict=True)]
            pace.wait(connection)
            began = time.monotonic()
            self._slice(connection, taken, at)
            pace.took(time.monotonic() - began, part.total)
            at = [row + rows for row, rows in zip(at, part.rows, strict=True)]
            meter.add(part.total)
        meter.finish()

    def _slice(self, connection: Connection[Any], taken: Sequence[pa.Table | None], at: Sequence[int]) -> None:
        """One slice of whole units: all that can come back, at once; when that fails, unit by unit."""
        import psycopg

        with connection.transaction(force_rollback=self._dry_run):
            states.locked(connection, self._record.id)
            for position, rows in enumerate(taken):
                if rows is not None:
                    columns = [column.name for column in self._tables[position].columns]
                    with connection.cursor() as cursor, cursor.copy(sql.load(_loaded(position), columns).encode()) as copy:
                        copy.write(files.as_csv(rows, at[position]))
            self._choose(connection)
            self._refuse_taken(connection)
            try:
                with connection.transaction():
                    self._insert(connection, None)
            except (psycopg.errors.IntegrityError, psycopg.errors.RaiseException, psycopg.errors.DataError, _DifferentError):
                for unit in self._units(connection):
                    self._one(connection, unit)
            self._refusals(connection)
            self._note(connection)

    def _choose(self, connection: Connection[Any]) -> None:
        """Keeps the units that are meant, and of their rows those that are archived."""
        if self._where:
            connection.execute("SET LOCAL search_path TO pg_catalog, public")
            root = self._tables[0]
            sql.execute(connection, f"DELETE FROM {_loaded(0)} AS {quoted(root.name)} WHERE ({self._where}\n) IS NOT TRUE")
            connection.execute("SET LOCAL search_path TO pg_catalog")
            for position in range(1, len(self._tables)):
                connection.execute(f"DELETE FROM {_loaded(position)} WHERE {UNIT} NOT IN (SELECT {UNIT} FROM {_loaded(0)})".encode())
        for position in range(len(self._tables)):
            connection.execute(
                f"DELETE FROM {_loaded(position)} AS t USING officeops.archive_absent AS a WHERE a.batch = %s AND a.position = %s"
                " AND t.officeops_row BETWEEN a.first_row AND a.last_row".encode(),
                (self._record.id, position),
            )

    def _refuse_taken(self, connection: Connection[Any]) -> None:
        """Units of which a row's key is in use stay where they are."""
        for position, table in enumerate(self._tables):
            label = table.label.replace("'", "''")
            connection.execute(
                f"INSERT INTO officeops_refused SELECT DISTINCT ON (l.{UNIT}) l.{UNIT}, '{label}: there is a row with that key' FROM"
                f" {_loaded(position)} AS l JOIN {table.sql} AS t ON {sql.same('t', table.key, 'l', table.key)}".encode()
            )

    def _insert(self, connection: Connection[Any], unit: int | None) -> None:
        """The rows, or those of one unit, but for refused ones. Raises _DifferentError, IntegrityError, or what a trigger raises."""
        for position, table in enumerate(self._tables):
            wanted = f"l.{UNIT} NOT IN (SELECT unit FROM officeops_refused)" + (f" AND l.{UNIT} = {unit}" if unit is not None else "")
            columns = [column.name for column in table.columns if not column.generated]
            found = connection.execute(
                f"WITH meant AS MATERIALIZED (SELECT * FROM {_loaded(position)} AS l WHERE {wanted}), made AS ("
                f"INSERT INTO {table.sql} AS t ({sql.names(columns)}) OVERRIDING SYSTEM VALUE SELECT {sql.names(columns)} FROM meant"
                f" ORDER BY officeops_row RETURNING {sql.fingerprint(table.columns, 't')} AS hash)"
                f" SELECT (SELECT count(*) FROM meant), (SELECT coalesce(sum({FINGERPRINT}), 0) FROM meant),"
                f" (SELECT count(*) FROM made), (SELECT coalesce(sum(hash), 0) FROM made)".encode()
            ).fetchone()
            assert found is not None
            if found[:2] != found[2:]:
                raise _DifferentError(f"{table.label}: the table made other values of it")
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def _one(self, connection: Connection[Any], unit: int) -> None:
        import psycopg

        try:
            with connection.transaction():
                self._insert(connection, unit)
        except (psycopg.errors.IntegrityError, psycopg.errors.RaiseException, psycopg.errors.DataError, _DifferentError) as error:
            connection.execute("INSERT INTO officeops_refused VALUES (%s, %s)", (unit, str(error).splitlines()[0]))

    def _units(self, connection: Connection[Any]) -> list[int]:
        parts = " UNION ".join(f"SELECT {UNIT} FROM {_loaded(position)}" for position in range(len(self._tables)))
        statement = f"SELECT * FROM ({parts}) AS u WHERE {UNIT} NOT IN (SELECT unit FROM officeops_refused) ORDER BY 1"
        return [unit for (unit,) in connection.execute(statement.encode())]

    def _refusals(self, connection: Connection[Any]) -> None:
        """Remembers what did not come back, named by the key of its row in the policy's table."""
        key = ", ".join(f"l.{quoted(name)}::text" for name in self._tables[0].key)
        for row in connection.execute(
            f"SELECT min(r.why), {key} FROM officeops_refused AS r LEFT JOIN {_loaded(0)} AS l ON l.{UNIT} = r.unit"
            f" GROUP BY r.unit, {key} ORDER BY r.unit".encode()
        ):
            self.result.add_conflict(f"{self._tables[0].label} ({', '.join(map(str, row[1:]))}): {row[0]}")

    def _note(self, connection: Connection[Any]) -> None:
        for position, table in enumerate(self._tables):
            row = sql.execute(
                connection,
                f"WITH back AS MATERIALIZED (SELECT officeops_row AS row FROM {_loaded(position)}"
                f" WHERE {UNIT} NOT IN (SELECT unit FROM officeops_refused)), noted AS ("
                f"INSERT INTO officeops.archive_absent (batch, position, first_row, last_row, why)"
                f" SELECT $1, $2, min(row), max(row), 'returned' FROM (SELECT row, row - row_number() OVER (ORDER BY row) AS island FROM back) AS i"
                f" GROUP BY island) SELECT count(*) FROM back",
                self._record.id,
                position,
            ).fetchone()
            self.result.rows[table.label] += row[0] if row else 0


def _as_archived(table: ArchivedTable) -> Table:
    """The table as it was: columns that it has got since are left to their defaults."""
    columns = tuple(Column(one.name, one.type, "", -1, one.generated, one.binary) for one in table.columns)
    return Table(table.schema_name, table.name, table.key, columns)


def _require_columns(connection: Connection[Any], table: Table, archived: ArchivedTable) -> None:
    found = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped", (table.sql,)
    ).fetchall()
    there = {name for (name,) in found}
    lost = [column.name for column in table.columns if column.name not in there]
    if lost:
        raise UsageError(
            f"{archived.label} has no column {', '.join(lost)} any more." if there else f"There is no table {archived.label}.",
            state="Nothing was changed.",
            todo="`officeops query` reads the rows; the file's metadata has the table's definition as it was.",
        )


def _loaded(position: int) -> str:
    return f"officeops_back_{position}"
