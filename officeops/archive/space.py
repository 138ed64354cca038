"""Giving space back: sizes before and after, VACUUM, and settings that stand in its way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from officeops.archive.shape import Unit

if TYPE_CHECKING:
    from psycopg import Connection


def sizes(connection: Connection[Any], unit: Unit) -> dict[str, int]:
    """Bytes of each table with its indexes and large values."""
    found = {}
    for table in unit.tables:
        row = connection.execute("SELECT pg_total_relation_size(%s::regclass)", (table.sql,)).fetchone()
        found[table.label] = int(row[0]) if row else 0
    return found


def vacuum(connection: Connection[Any], unit: Unit) -> None:
    """Makes the room of the removed rows usable, at the pace of autovacuum, so that nobody notices."""
    connection.execute("SET vacuum_cost_delay = 2")
    connection.execute("SET lock_timeout = '10s'")
    for table in reversed(unit.tables):
        connection.execute(f"VACUUM (ANALYZE) {table.sql}".encode())


def warnings(connection: Connection[Any], unit: Unit) -> list[str]:
    """What keeps space from being given back, for people."""
    found = []
    row = connection.execute("SELECT current_setting('autovacuum')").fetchone()
    if row and row[0] != "on":
        found.append("autovacuum is off for the whole server.")
    for table in unit.tables:
        row = connection.execute("SELECT array_to_string(reloptions, ' ') FROM pg_class WHERE oid = %s::regclass", (table.sql,)).fetchone()
        if row and row[0] and "autovacuum_enabled=false" in row[0]:
            found.append(f"autovacuum is off for {table.label}: ALTER TABLE {table.sql} RESET (autovacuum_enabled).")
    row = connection.execute(
        "SELECT format('%%s (process %%s, since %%s)', coalesce(nullif(application_name, ''), usename), pid, xact_start) FROM pg_stat_activity "
        "WHERE backend_xmin IS NOT NULL AND xact_start < now() - interval '1 hour' AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 1",
        (),
    ).fetchone()
    if row:
        found.append(f"A transaction older than an hour keeps removed rows: {row[0]}.")
    return found
