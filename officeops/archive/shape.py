"""What is archived as one unit: a table's row with its children, by foreign keys; and what forbids it.

Read from the catalogs, never from the rows: a policy that cannot be kept safely is refused before anything is read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from officeops.errors import RefusedError, UsageError
from officeops.postgres.catalog_queries import BINARY_TYPES
from officeops.runbook.model import Archive

if TYPE_CHECKING:
    from psycopg import Connection

UNIT, FINGERPRINT = "officeops_unit", "officeops_fingerprint"  # columns of our own in the files
_AGES = {"date", "timestamp", "timestamptz"}
_UNCHANGED = "Nothing was read or changed."
# Numbers that are none have many binary forms (infinity minus infinity has a sign) and one text.
_FLOATS = ", ".join(f"'pg_catalog.{name}'::regtype" for name in ("float4", "float8", "float4[]", "float8[]"))
_ON_DELETE = {
    "a": "forbids the deletion",
    "r": "forbids the deletion",
    "c": "deletes them too",
    "n": "empties their keys",
    "d": "resets their keys",
}


@dataclass(frozen=True)
class Column:
    """A column. type: as SQL writes it. base: the built-in type below it (below a domain too), empty for others. modifier: of that type
    (-1: none). generated: computed by the database. binary: its binary form is the value, the same in every database."""

    name: str
    type: str
    base: str
    modifier: int
    generated: bool
    binary: bool


@dataclass(frozen=True)
class Table:
    """An ordinary table with a primary key. key: its columns, in the key's order."""

    schema: str
    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def sql(self) -> str:
        """Its name, quoted."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def label(self) -> str:
        """Its name, for people."""
        return f"{self.schema}.{self.name}"

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True)
class Edge:
    """A foreign key inside the unit: from `child` to `parent`, which are positions in the unit's tables."""

    constraint: str
    child: int
    columns: tuple[str, ...]
    parent: int
    references: tuple[str, ...]


@dataclass(frozen=True)
class Unit:
    """tables: parents before children, the policy's own first. triggers: those that a DELETE fires, for people to know of."""

    tables: tuple[Table, ...]
    edges: tuple[Edge, ...]
    triggers: tuple[str, ...] = ()

    @property
    def root(self) -> Table:
        """The policy's table."""
        return self.tables[0]

    def to(self, child: int) -> list[Edge]:
        """The keys by which rows of `child` belong to a unit."""
        return [edge for edge in self.edges if edge.child == child]

    def has_children(self, table: int) -> bool:
        """Whether other tables of the unit point to this one."""
        return any(edge.parent == table for edge in self.edges)

    def digest(self) -> str:
        """Equal when nothing changed that an archive depends on."""
        content = {"tables": [asdict(table) for table in self.tables], "edges": [asdict(edge) for edge in self.edges]}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def quoted(name: str) -> str:
    """An identifier in SQL, whatever its characters."""
    return '"' + name.replace('"', '""') + '"'


def read_unit(connection: Connection[Any], policy: Archive) -> Unit:
    """The unit that `policy` archives. The session's settings are the pinned ones.

    Raises UsageError when the policy names what is not there, RefusedError when rows could be lost or left behind, naming the constraint.
    """
    _require_encoding(connection)
    oids = [_oid(connection, name) for name in (policy.table, *policy.children)]
    if len(set(oids)) < len(oids):
        raise UsageError(f"The policy {policy.name} names a table twice.", state=_UNCHANGED)
    found = {oid: _table(connection, oid) for oid in oids}
    keys = _inbound(connection, oids)
    _require_nothing_from_outside(found, keys)
    order = _in_order(policy, oids, found, keys)
    unit = Unit(
        tuple(found[oid] for oid in order),
        tuple(Edge(key.constraint, order.index(key.child), key.columns, order.index(key.parent), key.references) for key in keys),
        _triggers(connection, order),
    )
    _require_age(policy, unit.root)
    return unit


def _require_encoding(connection: Connection[Any]) -> None:
    row = connection.execute("SELECT getdatabaseencoding()").fetchone()
    if row is None or row[0] == "SQL_ASCII":
        raise RefusedError("The database does not say in which encoding its text is (SQL_ASCII): Parquet needs to know.", state=_UNCHANGED)


def _require_age(policy: Archive, root: Table) -> None:
    column = next((one for one in root.columns if one.name == policy.age_column), None)
    if column is None or column.base not in _AGES:
        found = "no such column" if column is None else f"it is {column.type}"
        raise UsageError(
            f"The policy {policy.name} takes the age from {root.label}.{policy.age_column}: {found}.",
            state=_UNCHANGED,
            todo="Name a column of type date, timestamp or timestamptz.",
        )


def _oid(connection: Connection[Any], name: str) -> int:
    import psycopg

    with connection.transaction():
        connection.execute("SET LOCAL search_path TO public, pg_catalog")
        try:
            row = connection.execute("SELECT to_regclass(%s)::oid", (name,)).fetchone()
        except psycopg.Error as error:
            raise UsageError(f"{name!r} is no name of a table: {error}", state=_UNCHANGED) from error
        connection.execute("SET LOCAL search_path TO pg_catalog")  # this may be a part of a longer transaction
    if row is None or row[0] is None:
        raise UsageError(f"There is no table {name} in the database.", state=_UNCHANGED, todo="Correct `archives` in runbook.yaml.")
    return int(row[0])


def _table(connection: Connection[Any], oid: int) -> Table:
    row = connection.execute(
        """
        SELECT n.nspname, c.relname, c.relkind, c.relpersistence, c.relrowsecurity,
               EXISTS (SELECT FROM pg_inherits h WHERE c.oid IN (h.inhrelid, h.inhparent)),
               EXISTS (SELECT FROM pg_rewrite w WHERE w.ev_class = c.oid),
               (SELECT array_agg(a.attname ORDER BY p.position)::text[]
                FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS p(attnum, position), pg_attribute a
                WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid AND a.attnum = p.attnum
                  AND p.position <= i.indnkeyatts)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s
        """,
        (oid,),
    ).fetchone()
    assert row is not None
    schema, name, kind, persistence, secured, inherits, rules, key = row
    reasons = {
        "it is no ordinary table (a partitioned one gives its partitions up whole: DETACH)": kind != "r" or inherits,
        "it is temporary": persistence == "t",
        "it has row-level security, which may hide rows": secured,
        "it has rewrite rules": rules,
        "it has no primary key, by which rows are known": not key,
    }
    for reason, true in reasons.items():
        if true:
            raise RefusedError(f"{schema}.{name} cannot be archived: {reason}.", state=_UNCHANGED)
    columns = _columns(connection, oid)
    if {column.name for column in columns} & {UNIT, FINGERPRINT}:
        raise RefusedError(f"{schema}.{name} has a column {UNIT} or {FINGERPRINT}, which archives need themselves.", state=_UNCHANGED)
    return Table(schema, name, tuple(key), columns)


def _columns(connection: Connection[Any], oid: int) -> tuple[Column, ...]:
    rows = connection.execute(
        f"""
        SELECT a.attname, format_type(a.atttypid, a.atttypmod),
               CASE WHEN b.typnamespace = 'pg_catalog'::regnamespace AND b.typtype = 'b' AND b.typelem = 0 THEN b.typname ELSE '' END,
               CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END,
               a.attgenerated <> '', getdatabaseencoding() = 'UTF8' AND a.atttypid IN ({BINARY_TYPES}) AND a.atttypid NOT IN ({_FLOATS})
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
             JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
        WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
        """.encode()
    ).fetchall()
    return tuple(Column(*row) for row in rows)


@dataclass(frozen=True)
class _Key:
    """A foreign key to one of the unit's tables. action: what deleting the parent does. indexed: whether its columns begin an index."""

    constraint: str
    child: int
    child_label: str
    columns: tuple[str, ...]
    parent: int
    references: tuple[str, ...]
    action: str
    indexed: bool


def _inbound(connection: Connection[Any], oids: list[int]) -> list[_Key]:
    rows = connection.execute(
        """
        SELECT k.conname, k.conrelid, n.nspname || '.' || c.relname, (SELECT array_agg(a.attname ORDER BY p.position)::text[]
                  FROM unnest(k.conkey) WITH ORDINALITY AS p(attnum, position), pg_attribute a
                  WHERE a.attrelid = k.conrelid AND a.attnum = p.attnum),
               k.confrelid, (SELECT array_agg(a.attname ORDER BY p.position)::text[]
                  FROM unnest(k.confkey) WITH ORDINALITY AS p(attnum, position), pg_attribute a
                  WHERE a.attrelid = k.confrelid AND a.attnum = p.attnum),
               k.confdeltype,
               EXISTS (SELECT FROM pg_index i WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL
                       AND (string_to_array(i.indkey::text, ' ')::int2[])[1:cardinality(k.conkey)] @> k.conkey)
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE k.contype = 'f' AND k.confrelid = ANY(%s) AND k.conparentid = 0
        ORDER BY n.nspname, c.relname, k.conname
        """,
        (oids,),
    ).fetchall()
    return [_Key(row[0], row[1], row[2], tuple(row[3]), row[4], tuple(row[5]), row[6], row[7]) for row in rows]


def _require_nothing_from_outside(found: dict[int, Table], keys: list[_Key]) -> None:
    for key in keys:
        parent = found[key.parent].label
        if key.child not in found:
            raise RefusedError(
                f"{key.child_label} points to {parent} by the constraint {key.constraint} and is not archived with it: deleting its parent "
                f"{_ON_DELETE[key.action]}.",
                state=_UNCHANGED,
                todo=f"Add {key.child_label} to the policy's `children`, or leave {parent} where it is.",
            )
        if not key.indexed:
            columns = ", ".join(map(quoted, key.columns))
            raise RefusedError(
                f"The constraint {key.constraint} of {key.child_label} has no index: each row that leaves {parent} would read that whole table.",
                state=_UNCHANGED,
                todo=f"CREATE INDEX CONCURRENTLY ON {found[key.child].sql} ({columns}).",
            )


def _in_order(policy: Archive, oids: list[int], found: dict[int, Table], keys: list[_Key]) -> list[int]:
    """Parents before children. Raises RefusedError for circles, UsageError for children that are none."""
    parents: dict[int, set[int]] = {oid: set() for oid in oids}
    for key in keys:
        parents[key.child].add(key.parent)
    try:
        order = list(TopologicalSorter(parents).static_order())
    except CycleError as error:
        circle = set(error.args[1])
        names = ", ".join(key.constraint for key in keys if key.child in circle and key.parent in circle)
        raise RefusedError(
            f"The tables of the policy {policy.name} point to each other in a circle ({names}): no order of deletion is safe for all rows.",
            state=_UNCHANGED,
        ) from error
    for oid in oids[1:]:
        if not parents[oid]:
            raise UsageError(f"{found[oid].label} has no foreign key to another table of the policy {policy.name}.", state=_UNCHANGED)
    if parents[oids[0]]:
        raise UsageError(f"{found[oids[0]].label} is a child of another table of the policy {policy.name}.", state=_UNCHANGED)
    return order


def _triggers(connection: Connection[Any], oids: list[int]) -> tuple[str, ...]:
    rows = connection.execute(
        """
        SELECT format('%%s on %%s', tgname, tgrelid::regclass) FROM pg_trigger
        WHERE tgrelid = ANY(%s) AND NOT tgisinternal AND tgtype & 8 <> 0 AND tgenabled <> 'D' ORDER BY 1
        """,
        (oids,),
    ).fetchall()
    return tuple(text for (text,) in rows)


def stamp(connection: Connection[Any], unit: Unit) -> str:
    """Another one when anything changed that `read_unit` looks at, by one quick query: for the middle of a transaction that holds the tables."""
    row = connection.execute(
        """
        WITH ours AS (SELECT name::regclass::oid AS oid FROM unnest(%s::text[]) AS name)
        SELECT md5(concat_ws(E'\n',
            (SELECT string_agg(concat_ws(' ', c.oid, c.relrowsecurity, c.relhasrules, c.relhassubclass), ',' ORDER BY c.oid)
             FROM pg_class c JOIN ours USING (oid)),
            (SELECT string_agg(concat_ws(' ', a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attisdropped, a.attgenerated), ','
                               ORDER BY a.attrelid, a.attnum)
             FROM pg_attribute a JOIN ours ON ours.oid = a.attrelid WHERE a.attnum > 0),
            (SELECT string_agg(concat_ws(' ', k.oid, k.confdeltype), ',' ORDER BY k.oid)
             FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid IN (SELECT oid FROM ours) AND k.conparentid = 0),
            (SELECT string_agg(i.indexrelid::text, ',' ORDER BY i.indexrelid) FROM pg_index i JOIN ours ON ours.oid = i.indrelid)))
        """,
        ([table.sql for table in unit.tables],),
    ).fetchone()
    assert row is not None
    return str(row[0])
