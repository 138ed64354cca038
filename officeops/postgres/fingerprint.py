"""What a database holds, in figures that can be compared: equal fingerprints mean equal content.

Taken on an exported snapshot, so that it describes exactly what a dump on the same snapshot contains, however much is
written meanwhile. Per table the number of rows and the sum of a 64-bit hash of each row's binary form: independent of the rows' order.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from officeops.postgres.catalog_queries import GRANTS, SCHEMA, SEQUENCES, TABLES
from officeops.progress import Meter

if TYPE_CHECKING:
    from psycopg import Connection


class Counted(BaseModel):
    """A number of rows and the sum of their hashes (a decimal number as text: it exceeds 64 bits)."""

    model_config = ConfigDict(frozen=True)

    rows: int
    checksum: str


class Fingerprint(BaseModel):
    """Everything that must be equal after a restore. Keys of `tables` and `sequences` are qualified, quoted names.

    definitions and grants: SHA-256 of both in a canonical order. sequences: the next value, which no snapshot holds still, when the dump
    began and after it had ended; a dump has one in between.
    Left out because they are computed anew: materialized views, statistics; because dumps leave them out: foreign and temporary tables.
    """

    model_config = ConfigDict(frozen=True)

    tables: dict[str, Counted]
    sequences: dict[str, tuple[int, int]]
    large_objects: Counted
    definitions: str
    grants: str


@dataclass(frozen=True)
class Difference:
    """One thing that is not equal."""

    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.found}"


def take(connection: Connection[Any]) -> Fingerprint:
    """The fingerprint of the database that `connection` sees. Read only; one table after the other, so memory stays flat."""
    tables = connection.execute(TABLES).fetchall()
    meter = Meter("fingerprint", len(tables), unit="tables")
    counted = {}
    for name, query in tables:
        counted[name] = _counted(connection, query)
        meter.add()
    meter.finish()
    return Fingerprint(
        tables=counted,
        sequences={name: (value, value) for name, value in next_values(connection).items()},
        large_objects=_large_objects(connection),
        definitions=_digest(connection, SCHEMA),
        grants=_digest(connection, GRANTS),
    )


def differences(expected: Fingerprint, found: Fingerprint) -> list[Difference]:
    """Everything in which `found` is not `expected`; empty when they are equal."""
    pairs: list[tuple[str, object, object]] = [
        *((f"table {name}", expected.tables.get(name), found.tables.get(name)) for name in _union(expected.tables, found.tables)),
        *_sequence_pairs(expected.sequences, found.sequences),
        ("large objects", expected.large_objects, found.large_objects),
        ("definitions of tables, views, functions", expected.definitions, found.definitions),
        ("privileges", expected.grants, found.grants),
    ]
    return [Difference(what, _shown(one), _shown(other)) for what, one, other in pairs if one != other]


def _sequence_pairs(expected: dict[str, tuple[int, int]], found: dict[str, tuple[int, int]]) -> list[tuple[str, object, object]]:
    """Pairs that are equal when the found value lies in the expected range."""
    pairs: list[tuple[str, object, object]] = []
    for name in _union(expected, found):
        wanted, got = expected.get(name), found.get(name)
        inside = wanted is not None and got is not None and min(wanted) <= got[0] <= max(wanted)
        pairs.append((f"sequence {name}", wanted, wanted if inside else got))
    return pairs


def _shown(value: object) -> str:
    if isinstance(value, Counted):
        return f"{value.rows} rows, checksum {value.checksum}"
    return "nothing" if value is None else str(value)


def _union(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return sorted(one.keys() | other.keys())


def _counted(connection: Connection[Any], query: str) -> Counted:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return Counted(rows=row[0], checksum=str(row[1]))


def next_values(connection: Connection[Any]) -> dict[str, int]:
    """What each sequence would give next. Sequences are outside of transactions: this is of now, whatever the session's snapshot."""
    found = {}
    for name, query, increment in connection.execute(SEQUENCES).fetchall():
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        last, called = row
        found[name] = last + (increment if called else 0)
    return found


def _large_objects(connection: Connection[Any]) -> Counted:
    """By page, without trailing zeros: a restore stores sparse objects' holes as zeros."""
    row = connection.execute(
        """
        SELECT (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata),
               (SELECT coalesce(sum(hashtextextended(loid::text || '/' || pageno::text || '/' || encode(page, 'hex'), 0)), 0)
                FROM (SELECT loid, pageno, rtrim(data, '\\x00'::bytea) AS page FROM pg_catalog.pg_largeobject) AS pages
                WHERE length(page) > 0)
        """
    ).fetchone()
    assert row is not None
    return Counted(rows=row[0], checksum=str(row[1]))


def _digest(connection: Connection[Any], query: str) -> str:
    digest = hashlib.sha256()
    for (line,) in connection.execute(query.encode()):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()
