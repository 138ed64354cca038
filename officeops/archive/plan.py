"""What a policy would archive now: counted, and the statements that would run. Nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from officeops.archive import sql, states
from officeops.archive.shape import read_unit
from officeops.archive.targets import targets_of
from officeops.runbook.model import Archive

if TYPE_CHECKING:
    from officeops.site import Site


@dataclass(frozen=True)
class Amount:
    """Rows, and their bytes in the database without indexes."""

    rows: int
    bytes: int


@dataclass(frozen=True)
class ArchivePlan:
    """tables: parents first, of all batches together. batches: how many. statements: what export and removal run, for people.
    notes: what a deletion sets off, and rows that wait already."""

    policy: str
    older_than: datetime
    tables: dict[str, Amount]
    batches: int
    targets: tuple[str, ...]
    statements: tuple[str, ...]
    notes: tuple[str, ...]


def plan(site: Site, policy: Archive) -> ArchivePlan:
    """Raises UsageError or RefusedError when the policy cannot be kept."""
    stores = targets_of(site, policy)
    older_than = site.clock() - timedelta(days=policy.older_than_days)
    with states.session(site, f"archive plan of {policy.name}") as connection:
        unit = read_unit(connection, policy)
        waiting = [record for record in states.batches(connection, policy=policy.name) if record.state != "done"]
        for table in range(len(unit.tables)):
            if sql.needs_list(unit, table):
                connection.execute(sql.create_listed(unit, table).encode())
        chosen = sql.chosen(unit.root, policy.age_column, policy.where, after=False, limit=None)
        found = {}
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute("SET LOCAL search_path TO pg_catalog, public")
            sql.execute(connection, sql.list_root(unit.root, chosen), older_than)
            connection.execute("SET LOCAL search_path TO pg_catalog")
            for position, one in enumerate(unit.tables):
                if position and sql.needs_list(unit, position):
                    connection.execute(sql.list_child(unit, position).encode())
                query = sql.rows(unit, position, "count(*), coalesce(sum(pg_column_size(t.*)), 0)::bigint")
                row = connection.execute(query.encode()).fetchone()
                assert row is not None
                found[one.label] = Amount(*row)
    units = found[unit.root.label].rows
    notes = [f"Deleting fires the trigger {trigger}." for trigger in unit.triggers]
    notes += [f"The batch {record.id} is {record.state}; its rows are counted here as long as they are there." for record in waiting]
    return ArchivePlan(
        policy.name, older_than, found, -(-units // policy.batch_size), tuple(stores),
        (
            sql.chosen(unit.root, policy.age_column, policy.where, after=False, limit=policy.batch_size),
            *(sql.export(unit, position) for position in range(len(unit.tables))),
            *(
                f"DELETE FROM {table.sql} WHERE ctid = ANY (…)  -- rows locked by key and fingerprint"
                for table in reversed(unit.tables)
            ),
        ),
        tuple(notes),
    )  # fmt: skip
