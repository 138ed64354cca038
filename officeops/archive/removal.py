"""Rows leave the database: whole units, as long as every row of them is still what the file has.

Each transaction takes a slice of the files, which lie in the order of units, and

1. finds the listed rows that still have their fingerprint, and locks those that may have children: nobody can add one from then on;
2. asks, in a statement of its own that sees what was committed until then, for children that are in no file: rows that came later;
3. removes the units that are whole, children first, by the place and version of the rows found, so that no cascade ever finds anything
   to do; one that is not there any more in that version undoes the transaction, which is tried again;
4. notes which rows stayed, and how far the files were dealt with.

Units of more rows than a transaction may have are taken in several, children first; there each row counts for itself.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from officeops.archive import files, sql, states
from officeops.archive.manifest import ArchiveManifest
from officeops.archive.pace import MOST_ROWS, Pace
from officeops.archive.shape import FINGERPRINT, UNIT, Edge, Unit, read_unit, stamp
from officeops.errors import OfficeOpsError
from officeops.progress import Meter
from officeops.runbook.model import Archive

if TYPE_CHECKING:
    import pyarrow as pa
    from psycopg import Connection

    from officeops.site import Site

_TRIES = 4  # before rows that somebody holds are left to the next batch
_BACK_OFF_S = 0.1
_LOCK_TIMEOUT = "100ms"


class Listed:
    """The keys in one file: taken in order, a row group in memory at a time."""

    def __init__(self, path: Path, columns: Sequence[str], units: int) -> None:
        self.path, self.columns = path, columns
        self.counts = _per_unit(path, units)
        self._groups: Iterator[pa.Table] = iter(())
        self._held: pa.Table | None = None
        self._at = 0

    def go_to(self, row: int) -> None:
        """The next one taken is this."""
        self._groups, self._held, self._at = files.Reader(self.path, self.columns).groups(), None, 0
        while self._at < row:
            self._skip(row - self._at)

    def take(self, rows: int) -> pa.Table:
        """The next so many."""
        import pyarrow as pa

        parts = []
        while rows:
            held = self._next()
            part = held.slice(0, min(rows, held.num_rows))
            parts.append(part)
            rows -= part.num_rows
            self._skip(part.num_rows)
        return pa.concat_tables(parts)

    def _next(self) -> pa.Table:
        while self._held is None or not self._held.num_rows:
            self._held = next(self._groups)
        return self._held

    def _skip(self, rows: int) -> None:
        held = self._next()
        skipped = min(rows, held.num_rows)
        self._held = held.slice(skipped)
        self._at += skipped


def _per_unit(path: Path, units: int) -> array[int]:
    """How many rows each unit has in a file."""
    import pyarrow.compute as pc

    counts = array("q", bytes(8 * units))
    reader = files.Reader(path, ())
    for group in reader.groups():
        found = pc.value_counts(group.column(0))
        for unit, count in zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True):
            counts[unit] += count
    reader.close()
    return counts


class _MovedError(Exception):
    """A row is not where it was found: somebody changed it in between, or a trigger keeps it."""


@dataclass(frozen=True)
class Slice:
    """So many rows of each file, from where it was."""

    rows: tuple[int, ...]

    @property
    def total(self) -> int:
        """Of all files."""
        return sum(self.rows)


def slices(counts: Sequence[Sequence[int]], at: Sequence[int], limit: Pace, *, whole_units: bool = False) -> Iterator[Slice]:
    """What is taken one after the other: whole units of together at most `limit.rows` rows; larger ones in pieces, children first, unless
    `whole_units` are wanted.

    counts: by table, parents first, rows of each unit. at: rows of each table that were dealt with. limit is asked before each."""
    left = list(at)
    units = len(counts[0])
    unit = 0
    while unit < units and all(left[table] >= counts[table][unit] for table in range(len(counts))):
        for table in range(len(counts)):
            left[table] -= counts[table][unit]
        unit += 1
    # What a killed run had begun of a large unit
    begun = left
    while unit < units:
        whole = [counts[table][unit] - begun[table] for table in range(len(counts))]
        if sum(whole) > MOST_ROWS and not whole_units:
            yield from _pieces(whole, limit)
            unit, begun = unit + 1, [0] * len(counts)
            continue
        rows, most = whole, limit.rows
        unit, begun = unit + 1, [0] * len(counts)
        while unit < units:
            more = [counts[table][unit] for table in range(len(counts))]
            if sum(rows) + sum(more) > most:
                break
            rows = [one + other for one, other in zip(rows, more, strict=True)]
            unit += 1
        yield Slice(tuple(rows))


def _pieces(whole: Sequence[int], limit: Pace) -> Iterator[Slice]:
    for table in reversed(range(len(whole))):
        left = whole[table]
        while left:
            rows = min(left, limit.rows)
            left -= rows
            yield Slice(tuple(rows if position == table else 0 for position in range(len(whole))))


class Removal:
    """The removal of one batch, from where it was left."""

    def __init__(
        self, site: Site, connection: Connection[Any], policy: Archive, unit: Unit, manifest: ArchiveManifest, folder: Path
    ) -> None:
        self._connection, self._policy, self._unit, self._manifest = connection, policy, unit, manifest
        self._stamp = ""
        self.pace = Pace(site.home / "archive.pause")
        self._listed = [
            Listed(folder / Path(archived.object).name, _in_order(table.key, table.columns), manifest.units)
            for table, archived in zip(unit.tables, manifest.tables, strict=True)
        ]

    def run(self) -> None:
        """Until every row of the batch was dealt with."""
        self._prepare()
        meter = Meter("remove", self._manifest.rows, unit="rows", every=MOST_ROWS)
        at = self._start()
        meter.add(sum(at))
        parts = slices([listed.counts for listed in self._listed], at, self.pace)
        with ThreadPoolExecutor(1) as helper:  # the next slice is read while this one is removed
            coming = helper.submit(self._read, parts, at)
            while (found := coming.result()) is not None:
                one, at, texts = found
                coming = helper.submit(self._read, parts, [row + rows for row, rows in zip(at, one.rows, strict=True)])
                self.pace.wait(self._connection)
                self._slice(one, texts, at)
                meter.add(one.total)
        meter.finish()

    def _read(self, parts: Iterator[Slice], at: list[int]) -> tuple[Slice, list[int], list[bytes]] | None:
        """The next slice, where it begins, and its rows of each table as CSV."""
        one = next(parts, None)
        if one is None:
            return None
        listed = zip(self._listed, one.rows, at, strict=True)
        return one, at, [files.as_csv(keys.take(rows), row) if rows else b"" for keys, rows, row in listed]

    def _start(self) -> list[int]:
        with self._connection.transaction():
            self._connection.execute("SET LOCAL lock_timeout = '30s'")  # the session of a killed run may just be ending
            self._stamp = stamp(self._connection, self._unit)
            if read_unit(self._connection, self._policy).digest() != self._unit.digest():
                raise OfficeOpsError("The tables change just now.", state="No row was touched.", todo="Try again after the migration.")
            at = states.locked(self._connection, self._manifest.id)
        for listed, row in zip(self._listed, at, strict=True):
            listed.go_to(row)
        return at

    def _prepare(self) -> None:
        run = self._connection.execute
        run("SET default_transaction_isolation = 'read committed'")
        run(f"SET lock_timeout = '{_LOCK_TIMEOUT}'".encode())
        # A transaction lost in a crash is lost whole, note and rows: nothing has to wait for the disk. `done` does.
        run("SET synchronous_commit = off")
        # The plan is known: from the listed rows to theirs by the key. Statistics that are out of date must not read a whole table.
        run("SET enable_mergejoin = off")
        run("SET work_mem = '32MB'")
        run("CREATE TEMPORARY TABLE officeops_broken (unit int) ON COMMIT DELETE ROWS")
        run("CREATE TEMPORARY TABLE officeops_tied (unit int, other int) ON COMMIT DELETE ROWS")
        for position, table in enumerate(self._unit.tables):
            key = _in_order(table.key, table.columns)
            run(sql.create_loaded(_slice(position), table, columns=key, transactional=True).encode())
            run(
                f"CREATE TEMPORARY TABLE {_held(position)} (officeops_row bigint, unit int, at tid, version xid) ON COMMIT DELETE ROWS".encode()
            )

    def _slice(self, one: Slice, texts: Sequence[bytes], at: Sequence[int]) -> None:
        """One slice, tried again while somebody holds what it needs; in the end without the rows that are held."""
        import psycopg

        for left in reversed(range(_TRIES)):
            began = time.monotonic()
            try:
                with self._connection.transaction():
                    self._transact(one, texts, at, skip="" if left else " SKIP LOCKED")
                self.pace.took(time.monotonic() - began, one.total)
                return
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                if not left:
                    raise
            except _MovedError:
                if not left:
                    raise OfficeOpsError(
                        "Rows cannot be removed: they change all the time, or a trigger keeps them.", state="Nothing is half done."
                    ) from None
            time.sleep(_BACK_OFF_S * (_TRIES - left))

    def _transact(self, one: Slice, texts: Sequence[bytes], at: Sequence[int], *, skip: str) -> None:
        run = self._connection.execute
        if states.locked(self._connection, self._manifest.id) != list(at):
            raise OfficeOpsError(f"Another process works on the batch {self._manifest.id}.", state="Nothing is half done.")
        everything = ", ".join(table.sql for table in self._unit.tables)
        run(f"LOCK TABLE {everything} IN ROW EXCLUSIVE MODE".encode())
        if stamp(self._connection, self._unit) != self._stamp:
            raise OfficeOpsError(
                f"The tables of the batch {self._manifest.id} changed while its rows left.",
                state="Rows that have not left stay.",
                todo="`officeops archive` ends the batch there and begins a new one.",
            )
        taken = [position for position, rows in enumerate(one.rows) if rows]
        for position in taken:
            self._load(position, texts[position])
        run("SET LOCAL enable_hashjoin = off")
        missed = [position for position in taken if run(self._find(position, skip).encode()).rowcount < one.rows[position]]
        run("SET LOCAL enable_hashjoin = on")
        self._find_broken(taken, missed)
        run("SET LOCAL enable_hashjoin = off")
        for position in reversed(taken):
            self._remove(position)
        states.advance(self._connection, self._manifest.id, [row + rows for row, rows in zip(at, one.rows, strict=True)])

    def _load(self, position: int, text: bytes) -> None:
        table = self._unit.tables[position]
        with (
            self._connection.cursor() as cursor,
            cursor.copy(sql.load(_slice(position), _in_order(table.key, table.columns)).encode()) as copy,
        ):
            copy.write(text)

    def _find(self, position: int, skip: str) -> str:
        """Into the table of found rows. A leaf is only locked when others hold some of its rows and those are to be left out."""
        table = self._unit.tables[position]
        lock = f" FOR UPDATE OF t{skip}" if skip or self._unit.has_children(position) else ""
        return (
            f"WITH found AS MATERIALIZED (SELECT s.officeops_row, s.{UNIT}, t.ctid, t.xmin FROM {_slice(position)} AS s JOIN {table.sql} AS t"
            f" ON {sql.same('t', table.key, 's', table.key)} WHERE {sql.fingerprint(table.columns, 't')} = s.{FINGERPRINT}{lock})"
            f" INSERT INTO {_held(position)} SELECT * FROM found"
        )

    def _find_broken(self, taken: Sequence[int], missed: Sequence[int]) -> None:
        """Units that do not go: rows of theirs are not what they were, or there are rows of which no file knows."""
        for position in missed:
            self._connection.execute(
                f"INSERT INTO officeops_broken SELECT DISTINCT s.{UNIT} FROM {_slice(position)} AS s"
                f" WHERE NOT EXISTS (SELECT FROM {_held(position)} AS h WHERE h.officeops_row = s.officeops_row)".encode()
            )
        for edge in self._unit.edges:
            if edge.parent in taken:
                self._find_children(edge)
        # A row with several parents is listed with the first: where it stays, they all do.
        more = (
            "INSERT INTO officeops_broken SELECT DISTINCT unit FROM officeops_tied"
            " WHERE other IN (SELECT unit FROM officeops_broken) AND unit NOT IN (SELECT unit FROM officeops_broken)"
        )
        while self._connection.execute(more).rowcount:
            pass

    def _find_children(self, edge: Edge) -> None:
        """The children that the locked parents have now: those that are not locked came later, others may belong to another unit."""
        parent, child = self._unit.tables[edge.parent], self._unit.tables[edge.child]
        there = (
            f"SELECT h.unit, t.at FROM {_held(edge.parent)} AS h,"
            f" LATERAL (SELECT * FROM {parent.sql} WHERE ctid = h.at OFFSET 0) AS q,"
            f" LATERAL (SELECT c.ctid AS at FROM {child.sql} AS c WHERE {sql.same('c', edge.columns, 'q', edge.references)} OFFSET 0) AS t"
        )
        self._connection.execute(
            f"WITH there AS MATERIALIZED ({there}), found AS MATERIALIZED ("
            f"SELECT DISTINCT there.unit, h.unit AS other FROM there LEFT JOIN {_held(edge.child)} AS h ON h.at = there.at"
            f" WHERE h.unit IS DISTINCT FROM there.unit), late AS ("
            f"INSERT INTO officeops_broken SELECT unit FROM found WHERE other IS NULL)"
            f" INSERT INTO officeops_tied SELECT unit, other FROM found WHERE other IS NOT NULL".encode()
        )

    def _remove(self, position: int) -> None:
        table, held, loaded = self._unit.tables[position], _held(position), _slice(position)
        run = self._connection.execute
        run(f"DELETE FROM {held} AS h WHERE h.unit IN (SELECT unit FROM officeops_broken)".encode())
        expected = run(f"SELECT count(*) FROM {held}".encode()).fetchone()
        gone = run(f"DELETE FROM {table.sql} AS t USING {held} AS h WHERE t.ctid = h.at AND t.xmin = h.version".encode()).rowcount
        if expected is None or gone != expected[0]:
            raise _MovedError
        sql.execute(
            self._connection,
            f"INSERT INTO officeops.archive_absent (batch, position, first_row, last_row, why)"
            f" SELECT $1, $2, min(row), max(row), why FROM ("
            f"SELECT s.officeops_row AS row, w.why, s.officeops_row - row_number() OVER (PARTITION BY w.why ORDER BY s.officeops_row) AS island"
            f" FROM {loaded} AS s, LATERAL (SELECT {self._why(position)} AS why OFFSET 0) AS w"
            f" WHERE s.{UNIT} IN (SELECT unit FROM officeops_broken)) AS stayed GROUP BY why, island",
            self._manifest.id,
            position,
        )  # fmt: skip

    def _why(self, position: int) -> str:
        """Of a row that stayed: asked of the table itself."""
        table = self._unit.tables[position]
        here = f"FROM {table.sql} AS t WHERE {sql.same('t', table.key, 's', table.key)}"
        return (
            f"CASE WHEN NOT EXISTS (SELECT {here}) THEN 'gone'"
            f" WHEN NOT EXISTS (SELECT {here} AND {sql.fingerprint(table.columns, 't')} = s.{FINGERPRINT}) THEN 'changed'"
            f" ELSE 'with its unit' END"
        )


def _in_order(key: Sequence[str], columns: Sequence[Any]) -> list[str]:
    """A key's columns in the order that the table has them."""
    return [column.name for column in columns if column.name in key]


def _slice(position: int) -> str:
    return f"officeops_slice_{position}"


def _held(position: int) -> str:
    return f"officeops_held_{position}"
