"""An exported snapshot: the one moment that a dump and its fingerprint both describe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from officeops.postgres.catalog_queries import ROLES
from officeops.postgres.connect import connected
from officeops.postgres.fingerprint import next_values
from officeops.stack.port import DatabaseAddress

if TYPE_CHECKING:
    from psycopg import Connection


class DatabaseFacts(BaseModel):
    """What a database is, besides its content: enough to create its like."""

    model_config = ConfigDict(frozen=True)

    name: str
    owner: str
    encoding: str
    locale_provider: str
    collate: str
    ctype: str
    locale: str | None
    size_bytes: int
    server_version: str
    server_version_num: int
    extensions: dict[str, str]
    roles: tuple[str, ...]
    revision: str | None


@dataclass(frozen=True)
class Snapshot:
    """`sequences`: next values when it was taken. `id` is what `pg_dump --snapshot` and SET TRANSACTION SNAPSHOT take, for as long as the exporting session lives."""

    id: str
    lsn: str
    superuser: bool
    facts: DatabaseFacts
    sequences: dict[str, int]


@contextmanager
def exported(address: DatabaseAddress, *, application: str, revision_table: str) -> Iterator[Snapshot]:
    """Holds a snapshot open for the block. Raises DatabaseDownError when the server does not answer."""
    with connected(address, application=application, autocommit=False) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row = connection.execute(
            "SELECT pg_export_snapshot(),"
            " (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)::text,"
            " current_setting('is_superuser') = 'on'"
        ).fetchone()
        assert row is not None
        yield Snapshot(row[0], row[1], row[2], facts(connection, revision_table), next_values(connection))


@contextmanager
def joined(address: DatabaseAddress, snapshot: Snapshot, *, application: str) -> Iterator[Connection[Any]]:
    """A session that sees exactly what `snapshot` saw."""
    from psycopg.sql import SQL, Literal

    with connected(address, application=application, autocommit=False) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute(SQL("SET TRANSACTION SNAPSHOT {}").format(Literal(snapshot.id)))
        yield connection


def facts(connection: Connection[Any], revision_table: str) -> DatabaseFacts:
    """What the connected database is."""
    version = connection.info.server_version
    # Columns were renamed and added over the versions; one query per shape would repeat the rest.
    provider = "d.datlocprovider" if version >= 150000 else "'c'"
    locale = "d.datlocale" if version >= 170000 else "d.daticulocale" if version >= 150000 else "NULL"
    row = connection.execute(
        f"""
        SELECT d.datname, pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding), {provider}::text, d.datcollate, d.datctype, {locale},
               pg_database_size(d.oid), current_setting('server_version'),
               (SELECT coalesce(jsonb_object_agg(extname, extversion), '{{}}') FROM pg_extension)
        FROM pg_database d WHERE d.datname = current_database()
        """.encode()
    ).fetchone()
    assert row is not None
    name, owner, encoding, provider, collate, ctype, locale, size, server, extensions = row
    return DatabaseFacts(
        name=name, owner=owner, encoding=encoding, locale_provider=provider, collate=collate, ctype=ctype, locale=locale,
        size_bytes=size, server_version=server, server_version_num=version, extensions=extensions,
        roles=tuple(role for (role,) in connection.execute(ROLES.encode()).fetchall()),
        revision=revision(connection, revision_table),
    )  # fmt: skip


def revision(connection: Connection[Any], table: str) -> str | None:
    """The schema's revision, from the migration tool's table in schema public; None when there is no such table or row."""
    from psycopg.sql import SQL, Identifier

    known = connection.execute("SELECT to_regclass(%s)", (f'public."{table}"',)).fetchone()
    if known is None or known[0] is None:
        return None
    row = connection.execute(SQL("SELECT * FROM {} LIMIT 1").format(Identifier("public", table))).fetchone()
    return None if row is None else str(row[0])
