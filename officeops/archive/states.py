"""How far each batch is, in the database that the rows are in: a row and the note that it left are one transaction.

So a database that is restored to an earlier time has its batches as they were then, and nothing is ever done twice or half.

    planned -> exported -> verified -> deleting -> done

`absent` names the rows of a file that are not archived: they stayed in the database, were gone before, or were brought back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from officeops.archive.manifest import ArchiveManifest
from officeops.archive.pace import share_processor
from officeops.errors import OfficeOpsError, UsageError
from officeops.postgres.connect import DatabaseError, connected

if TYPE_CHECKING:
    from psycopg import Connection

    from officeops.site import Site

State = Literal["planned", "exported", "verified", "deleting", "done"]
_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS officeops;
CREATE TABLE IF NOT EXISTS officeops.archive_batches (
    id text PRIMARY KEY,
    policy text NOT NULL,
    state text NOT NULL CHECK (state IN ('planned', 'exported', 'verified', 'deleting', 'done')),
    planned_at timestamptz NOT NULL,
    targets text[] NOT NULL,            -- URLs without secrets
    shape text NOT NULL,                -- digest of the tables' definitions: rows of others are never deleted
    upto text[],                        -- key of the last row of the policy's table
    exported_at timestamptz,
    verified_at timestamptz,
    due_at timestamptz,                 -- grace is over
    done_at timestamptz,
    manifest jsonb,
    removed bigint[] NOT NULL DEFAULT '{}',  -- by table: so many rows of the file were dealt with
    sizes jsonb NOT NULL DEFAULT '{}'   -- bytes of the tables before and after
);
CREATE TABLE IF NOT EXISTS officeops.archive_absent (
    batch text NOT NULL REFERENCES officeops.archive_batches,
    position int NOT NULL,              -- of the table in the manifest
    first_row bigint NOT NULL,          -- of the file, from 0
    last_row bigint NOT NULL,
    why text NOT NULL CHECK (why IN ('changed', 'gone', 'with its unit', 'returned')),
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (batch, position, first_row)
);
"""
_COLUMNS = "id, policy, state, planned_at, targets, shape, upto, exported_at, verified_at, due_at, done_at, manifest, removed, sizes"


@dataclass(frozen=True)
class BatchRecord:
    """A batch as the database knows it. stayed, returned: numbers of rows."""

    id: str
    policy: str
    state: State
    planned_at: datetime
    targets: list[str]
    shape: str
    upto: list[str] | None
    exported_at: datetime | None
    verified_at: datetime | None
    due_at: datetime | None
    done_at: datetime | None
    manifest: ArchiveManifest | None
    removed: list[int]
    sizes: dict[str, dict[str, int]]
    absent: dict[str, int] = field(default_factory=dict)

    @property
    def contents(self) -> ArchiveManifest:
        """The manifest of a batch that has one. Raises OfficeOpsError."""
        if self.manifest is None:
            raise OfficeOpsError(f"The batch {self.id} is not exported yet.")
        return self.manifest

    def archived(self, position: int) -> int:
        """How many rows at the beginning of a table's file have left the database, but for the absent ones."""
        if self.state == "done":
            return self.contents.tables[position].rows
        return self.removed[position] if self.state == "deleting" and self.removed else 0


@contextmanager
def session(site: Site, doing: str) -> Iterator[Connection[Any]]:
    """A session for an archive's work. What the server says no to is a DatabaseError."""
    import psycopg

    with connected(site.stack.database(), application=f"officeops {doing}") as connection:
        share_processor(connection)
        try:
            yield connection
        except psycopg.Error as error:
            if connection.closed or connection.broken:
                raise  # explained by whoever opened it
            said = str(error).strip().splitlines()
            trouble = DatabaseError(
                f"The database refused {doing}: {said[0] if said else type(error).__name__}", state="Nothing is half done."
            )
            trouble.transient = isinstance(error, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected)
            raise trouble from error


def prepare(connection: Connection[Any]) -> None:
    """The schema and its tables, if they are not there. The caller holds the stack's lock."""
    if not _there(connection):
        connection.execute(_SCHEMA)


def _there(connection: Connection[Any]) -> bool:
    row = connection.execute("SELECT to_regclass('officeops.archive_absent') IS NOT NULL").fetchone()
    return bool(row and row[0])


def batches(connection: Connection[Any], *, policy: str | None = None, id: str | None = None) -> list[BatchRecord]:
    """All batches, or those of a policy, or the one of that id, oldest first. None when the database never had any."""
    if not _there(connection):
        return []
    absent: dict[str, dict[str, int]] = {}
    for batch, why, rows in connection.execute(
        "SELECT batch, why, sum(last_row - first_row + 1)::bigint FROM officeops.archive_absent WHERE batch = coalesce(%s, batch) GROUP BY 1, 2",
        (id,),
    ):
        absent.setdefault(batch, {})[why] = rows
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM officeops.archive_batches WHERE policy = coalesce(%s, policy) AND id = coalesce(%s, id)"
        " ORDER BY planned_at, id".encode(),
        (policy, id),
    ).fetchall()
    return [_record(row, absent.get(row[0], {})) for row in found]


def batch(connection: Connection[Any], wanted: str) -> BatchRecord:
    """The batch of that id, or of an unambiguous beginning of it. Raises UsageError."""
    found = batches(connection, id=wanted) or [one for one in batches(connection) if one.id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    problem = f"{wanted!r} fits {len(found)} batches" if found else f"There is no batch {wanted!r}"
    raise UsageError(f"{problem}.", state="Nothing was changed.", todo="`officeops archives` lists them.")


def last_waiting(connection: Connection[Any], policy: str) -> list[str] | None:
    """The key up to which rows of the policy's table are in batches and may still be in the database; None when there is none."""
    row = connection.execute(
        "SELECT upto FROM officeops.archive_batches WHERE policy = %s AND state IN ('exported', 'verified', 'deleting')"
        " ORDER BY planned_at DESC, id DESC LIMIT 1",
        (policy,),
    ).fetchone()
    return None if row is None else list(row[0])


def _record(row: Sequence[Any], absent: dict[str, int]) -> BatchRecord:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    manifest = None if values["manifest"] is None else ArchiveManifest.model_validate(values["manifest"])
    return BatchRecord(**{**values, "manifest": manifest}, absent=absent)


def insert(connection: Connection[Any], *, id: str, policy: str, planned_at: datetime, targets: list[str], shape: str) -> None:
    """A batch that begins."""
    connection.execute(
        "INSERT INTO officeops.archive_batches (id, policy, state, planned_at, targets, shape) VALUES (%s, %s, 'planned', %s, %s, %s)",
        (id, policy, planned_at, targets, shape),
    )


def exported(connection: Connection[Any], manifest: ArchiveManifest, upto: list[str]) -> None:
    """Its files are in every target."""
    connection.execute(
        "UPDATE officeops.archive_batches SET state = 'exported', exported_at = %s, manifest = %s::jsonb, upto = %s, removed = %s "
        "WHERE id = %s",
        (manifest.exported_at, json.dumps(manifest.model_dump(mode="json")), upto, [0] * len(manifest.tables), manifest.id),
    )


def verified(connection: Connection[Any], id: str, at: datetime, due_at: datetime) -> None:
    """Its files were read back."""
    connection.execute(
        "UPDATE officeops.archive_batches SET state = 'verified', verified_at = %s, due_at = %s WHERE id = %s", (at, due_at, id)
    )


def deleting(connection: Connection[Any], id: str, sizes: dict[str, dict[str, int]]) -> None:
    """Its rows are about to leave."""
    connection.execute("UPDATE officeops.archive_batches SET state = 'deleting', sizes = %s::jsonb WHERE id = %s", (json.dumps(sizes), id))


def done(connection: Connection[Any], id: str, at: datetime) -> None:
    """Its rows have left."""
    connection.execute("UPDATE officeops.archive_batches SET state = 'done', done_at = %s WHERE id = %s", (at, id))


def measured(connection: Connection[Any], id: str, sizes: dict[str, dict[str, int]]) -> None:
    """How large its tables are now."""
    connection.execute("UPDATE officeops.archive_batches SET sizes = %s::jsonb WHERE id = %s", (json.dumps(sizes), id))


def forget(connection: Connection[Any], id: str) -> None:
    """A batch that never deleted anything is no more."""
    connection.execute("DELETE FROM officeops.archive_batches WHERE id = %s AND state IN ('planned', 'exported', 'verified')", (id,))


def keep_rest(connection: Connection[Any], id: str) -> None:
    """Rows that were not dealt with are not archived."""
    connection.execute(
        "INSERT INTO officeops.archive_absent (batch, position, first_row, last_row, why) "
        "SELECT b.id, t.position - 1, b.removed[t.position], (t.rows->>'rows')::bigint - 1, 'changed' "
        "FROM officeops.archive_batches b, jsonb_array_elements(b.manifest->'tables') WITH ORDINALITY AS t(rows, position) "
        "WHERE b.id = %s AND b.removed[t.position] < (t.rows->>'rows')::bigint",
        (id,),
    )


def locked(connection: Connection[Any], id: str) -> list[int]:
    """How far the batch's rows were dealt with, held until the transaction ends: what a killed run's session still commits comes before."""
    row = connection.execute("SELECT removed FROM officeops.archive_batches WHERE id = %s FOR UPDATE", (id,)).fetchone()
    assert row is not None
    return list(row[0])


def advance(connection: Connection[Any], id: str, removed: list[int]) -> None:
    """So many rows of each file are dealt with: a part of the transaction that did it."""
    connection.execute("UPDATE officeops.archive_batches SET removed = %s WHERE id = %s", (removed, id))


def absent_rows(connection: Connection[Any], id: str) -> list[tuple[int, int, int, str]]:
    """Position of the table, first and last row, why: of the rows of its files that are not archived."""
    return connection.execute(
        "SELECT position, first_row, last_row, why FROM officeops.archive_absent WHERE batch = %s ORDER BY 1, 2", (id,)
    ).fetchall()
