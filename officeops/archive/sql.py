"""The statements of an archive, as text: nothing here talks to a server. Values are `$1`, `$2` ..., names are quoted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from officeops.archive.shape import FINGERPRINT, UNIT, Column, Edge, Table, Unit, quoted

if TYPE_CHECKING:
    from psycopg import Connection, RawCursor


def execute(connection: Connection[Any], statement: str, *values: object) -> RawCursor[Any]:
    """Runs one statement: its values as the server's own `$1`, so that a per cent sign in a name or condition is only that."""
    import psycopg

    return psycopg.RawCursor(connection).execute(statement.encode(), values or None)


def fingerprint(columns: Sequence[Column], alias: str) -> str:
    """The 64-bit hash of a row: of its columns' binary form, or of their text where the binary form is no value (object ids)."""
    items = (
        f"{alias}.{quoted(column.name)}" if column.binary else f"convert_to({alias}.{quoted(column.name)}::text, getdatabaseencoding())"
        for column in columns
    )
    return f"hash_record_extended(ROW(record_send(ROW({', '.join(items)}))), 0)"


def names(columns: Sequence[str], alias: str = "") -> str:
    """A list of columns."""
    before = f"{alias}." if alias else ""
    return ", ".join(f"{before}{quoted(column)}" for column in columns)


def same(one: str, columns: Sequence[str], other: str, others: Sequence[str]) -> str:
    """A condition: those columns are equal."""
    return " AND ".join(f"{one}.{quoted(a)} = {other}.{quoted(b)}" for a, b in zip(columns, others, strict=True))


# Listing: which rows, on the snapshot that is exported


def create_listed(unit: Unit, table: int) -> str:
    """A temporary table for the keys of the listed rows of a table that others point to."""
    found = unit.tables[table]
    return f"CREATE TEMPORARY TABLE {listed(table)} AS SELECT 0::int AS {UNIT}, {names(found.key)} FROM {found.sql} WITH NO DATA"


def listed(table: int) -> str:
    """Its name."""
    return f"officeops_listed_{table}"


def chosen(root: Table, age_column: str, where: str, *, after: bool, limit: int | None) -> str:
    """The keys of the rows that a policy archives, in order. $1: the time that divides; $2 ...: the key after which to begin."""
    conditions = [f"{quoted(age_column)} < $1::timestamptz"]
    if where:
        conditions.append(f"({where}\n)")
    if after:
        types = (f"${number}::{root.column(name).type}" for number, name in enumerate(root.key, 2))
        conditions.append(f"ROW({names(root.key)}) > ROW({', '.join(types)})")
    bound = f" LIMIT {limit}" if limit is not None else ""
    return f"SELECT {names(root.key)} FROM {root.sql} WHERE {' AND '.join(conditions)} ORDER BY {names(root.key)}{bound}"


def list_root(root: Table, query: str) -> str:
    """Enters the chosen rows as units 0, 1, 2 ... in order of their keys."""
    return f"INSERT INTO {listed(0)} SELECT row_number() OVER (ORDER BY {names(root.key)}) - 1, {names(root.key)} FROM ({query}) AS chosen"


def list_child(unit: Unit, table: int) -> str:
    """Enters the children of the listed rows; one that several units have goes with the first."""
    key = names(unit.tables[table].key)
    parts = (_reached(unit, edge, f"p.{UNIT}, {names(unit.tables[table].key, 't')}") for edge in unit.to(table))
    return f"INSERT INTO {listed(table)} SELECT min({UNIT}), {key} FROM ({' UNION ALL '.join(parts)}) AS reached GROUP BY {key}"


def _reached(unit: Unit, edge: Edge, what: str) -> str:
    """`what` of the rows `t` of a child whose parent `p` is listed."""
    child, parent = unit.tables[edge.child], unit.tables[edge.parent]
    if edge.references == parent.key:
        return f"SELECT {what} FROM {listed(edge.parent)} AS p JOIN {child.sql} AS t ON {same('t', edge.columns, 'p', parent.key)}"
    return (
        f"SELECT {what} FROM {listed(edge.parent)} AS p JOIN {parent.sql} AS q ON {same('q', parent.key, 'p', parent.key)}"
        f" JOIN {child.sql} AS t ON {same('t', edge.columns, 'q', edge.references)}"
    )


def needs_list(unit: Unit, table: int) -> bool:
    """Whether a table's keys are listed first. A leaf with one key is read by that key at once."""
    return unit.has_children(table) or len(unit.to(table)) != 1


def rows(unit: Unit, table: int, what: str) -> str:
    """A query for `what` of the rows `t` of a table in the batch; `p` has their unit."""
    found = unit.tables[table]
    if needs_list(unit, table):
        return f"SELECT {what} FROM {listed(table)} AS p JOIN {found.sql} AS t ON {same('t', found.key, 'p', found.key)}"
    return _reached(unit, unit.to(table)[0], what)


def export(unit: Unit, table: int) -> str:
    """The rows as CSV: unit, fingerprint, all columns; by unit, then by key."""
    found = unit.tables[table]
    what = f"p.{UNIT}, {fingerprint(found.columns, 't')}, {names([column.name for column in found.columns], 't')}"
    order = f"p.{UNIT}, {names(found.key, 't')}"
    return f"COPY ({rows(unit, table, what)} ORDER BY {order}) TO STDOUT (FORMAT csv)"


# Rows that were read back, in a temporary table of the same types


def create_loaded(name: str, table: Table, *, columns: Sequence[str], transactional: bool) -> str:
    """A temporary table with number, unit, fingerprint and those columns. transactional: empty again after each transaction."""
    end = "ON COMMIT DELETE ROWS " if transactional else ""
    what = f"0::bigint AS officeops_row, 0::int AS {UNIT}, 0::bigint AS {FINGERPRINT}, {names(columns)}"
    return f"CREATE TEMPORARY TABLE {name} {end}AS SELECT {what} FROM {table.sql} WITH NO DATA"


def load(name: str, columns: Sequence[str]) -> str:
    """Takes CSV with the number, unit, fingerprint and those columns."""
    return f"COPY {name} (officeops_row, {UNIT}, {FINGERPRINT}, {names(columns)}) FROM STDIN (FORMAT csv)"


def compare(name: str, table: Table) -> str:
    """How many rows there are, how many differ from their fingerprint, and the sum of all."""
    hashed = fingerprint(table.columns, "t")
    return f"SELECT count(*), count(*) FILTER (WHERE {hashed} IS DISTINCT FROM {FINGERPRINT}), coalesce(sum({FINGERPRINT}), 0) FROM {name} AS t"
