"""Questions to archived rows, by DuckDB, over the files of every batch: each row once, those that came back or stayed left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from officeops.archive import states, targets
from officeops.archive.manifest import ArchivedTable
from officeops.archive.shape import FINGERPRINT, UNIT, quoted
from officeops.archive.states import BatchRecord
from officeops.errors import UsageError
from officeops.store.file import FileStore

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from officeops.site import Site

_MEMORY = "1GB"
BATCH = "officeops_batch"


@dataclass(frozen=True)
class Answer:
    """Columns and rows."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True)
class _Part:
    """A file of a table: how many of its rows at the beginning count, and which of those do not."""

    record: BatchRecord
    table: ArchivedTable
    rows: int
    absent: tuple[tuple[int, int], ...]


def query(site: Site, statement: str) -> Answer:
    """What `statement` answers over the archived rows: each table under its own name, with the batch in one more column. It can read
    nothing else and write nothing. Raises UsageError when it is wrong, OfficeOpsError when a file cannot be had."""
    import duckdb

    parts = archived(site)
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute("SET TimeZone = 'UTC'")
        wanted = _named(connection, statement, parts)
        paths = {part.table.object: _path(site, part) for name in wanted for part in parts[name]}
        for schema in {name[0] for name in parts}:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
        for (schema, table), found in parts.items():
            if (schema, table) in wanted:
                view = _view(found, paths)
                connection.execute(f"CREATE VIEW {quoted(schema)}.{quoted(table)} AS {view}")
        if "public" in {name[0] for name in parts}:
            connection.execute("SET search_path = 'public,main'")
        connection.execute("SET allowed_paths = [" + ", ".join(_text(str(path)) for path in paths.values()) + "]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            result = connection.execute(statement)
            return Answer(tuple(column[0] for column in result.description or ()), result.fetchall())
        except duckdb.Error as error:
            known = ", ".join(f"{schema}.{table}" for schema, table in sorted(parts)) or "none yet"
            raise UsageError(f"The query failed: {error}", state="Nothing was changed.", todo=f"Archived tables: {known}.") from error


def archived(site: Site) -> dict[tuple[str, str], list[_Part]]:
    """The files that hold archived rows, by schema and table."""
    found: dict[tuple[str, str], list[_Part]] = {}
    with states.session(site, "query") as connection, connection.transaction():
        for record in states.batches(connection):
            if record.state not in ("deleting", "done"):
                continue
            absent = states.absent_rows(connection, record.id)
            for position, table in enumerate(record.contents.tables):
                ranges = tuple((first, last) for at, first, last, _why in absent if at == position)
                part = _Part(record, table, record.archived(position), ranges)
                found.setdefault((table.schema_name, table.name), []).append(part)
    return found


def _named(connection: DuckDBPyConnection, statement: str, parts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The tables that a query reads: only their files are fetched."""
    import duckdb

    try:
        names = {name.lower() for name in connection.get_table_names(statement)}
    except duckdb.Error:
        return list(parts)  # the query itself will say what is wrong
    return [(schema, table) for schema, table in parts if table.lower() in names]


def _view(parts: Sequence[_Part], paths: dict[str, Path]) -> str:
    """All rows of a table that count. Columns that a file has not are NULL; of types that differ the wider one."""
    selects = []
    for part in parts:
        conditions = [f"file_row_number < {part.rows}"]
        conditions += [f"NOT file_row_number BETWEEN {first} AND {last}" for first, last in part.absent]
        selects.append(
            f"SELECT * EXCLUDE ({UNIT}, {FINGERPRINT}, file_row_number), {_text(part.record.id)} AS {BATCH}"
            f" FROM read_parquet({_text(str(paths[part.table.object]))}, file_row_number = true) WHERE {' AND '.join(conditions)}"
        )
    return " UNION ALL BY NAME ".join(selects)


def _path(site: Site, part: _Part) -> Path:
    """The file where it is, or a copy in OFFICEOPS_HOME of one that is far away."""
    for name in part.record.targets:
        store = targets.opened(site, name)
        if isinstance(store, FileStore):
            path = store.root / part.table.object
            if path.is_file() and path.stat().st_size == part.table.bytes:
                return path
    copy = site.home / "archive-files" / part.table.object
    if not (copy.is_file() and copy.stat().st_size == part.table.bytes):
        temporary = copy.with_name(copy.name + ".part")
        targets.fetched_from_any(site, part.record.targets, part.table, temporary)
        temporary.rename(copy)
    return copy


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
