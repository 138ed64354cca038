"""Whole databases: created like another, swapped by renaming, dropped. All through the server's maintenance database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from officeops.errors import OfficeOpsError
from officeops.postgres.connect import connected
from officeops.postgres.snapshot import DatabaseFacts
from officeops.stack.port import DatabaseAddress

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}
_NAME_BYTES = 63
_LISTS = {"search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"}


class SwapError(OfficeOpsError):
    """The databases could not be renamed; both have the names they had."""


@contextmanager
def maintenance(address: DatabaseAddress, *, application: str) -> Iterator[Connection[Any]]:
    """An autocommit session in a database that no swap touches."""
    with connected(replace(address, database="postgres"), application=application) as connection:
        yield connection


def side_name(database: str, purpose: str, stamp: str) -> str:
    """`<database>_<purpose>_<stamp>`, the database's part cut so that the whole fits PostgreSQL's 63 bytes."""
    tail = f"_{purpose}_{stamp}"
    head = database.encode()[: _NAME_BYTES - len(tail)].decode(errors="ignore")
    return head + tail


def exists(connection: Connection[Any], database: str) -> bool:
    """Whether there is a database of that name."""
    return connection.execute("SELECT FROM pg_database WHERE datname = %s", (database,)).fetchone() is not None


def names(connection: Connection[Any]) -> list[str]:
    """All databases that can be connected to."""
    return [name for (name,) in connection.execute("SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1").fetchall()]


def roles(connection: Connection[Any]) -> set[str]:
    """All roles."""
    return {name for (name,) in connection.execute("SELECT rolname FROM pg_roles").fetchall()}


def create_like(connection: Connection[Any], database: str, facts: DatabaseFacts | None) -> None:
    """An empty database with the encoding, the collation and the owner of `facts` (None: the server's defaults)."""
    from psycopg.sql import SQL, Identifier, Literal

    options = [SQL("TEMPLATE template0")]
    if facts is not None:
        options += [SQL(f"{key} {{}}").format(Literal(value)) for key, value in _locale(facts, connection.info.server_version)]  # type: ignore[misc]
        if facts.owner in roles(connection):
            options.append(SQL("OWNER {}").format(Identifier(facts.owner)))  # type: ignore[arg-type]
    connection.execute(SQL("CREATE DATABASE {} WITH ").format(Identifier(database)) + SQL(" ").join(options))


def _locale(facts: DatabaseFacts, server_version: int) -> list[tuple[str, str]]:
    """What CREATE DATABASE takes, by the provider that the database has."""
    options = [("ENCODING", facts.encoding), ("LC_COLLATE", facts.collate), ("LC_CTYPE", facts.ctype)]
    if server_version >= 150000:
        options.append(("LOCALE_PROVIDER", _PROVIDERS[facts.locale_provider]))
        if facts.locale and facts.locale_provider in ("i", "b"):
            options.append(("ICU_LOCALE" if facts.locale_provider == "i" else "BUILTIN_LOCALE", facts.locale))
    return options


def copy_settings(connection: Connection[Any], source: str, destination: str) -> None:
    """What belongs to a database and is in no dump of it: its privileges, ALTER DATABASE ... SET, its connection limit, its comment."""
    from psycopg.sql import SQL, Identifier, Literal

    statements: list[Composed] = []
    database = Identifier(destination)
    for role, settings in connection.execute(
        "SELECT pg_get_userbyid(nullif(s.setrole, 0)), s.setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase"
        " WHERE d.datname = %s",
        (source,),
    ).fetchall():
        whose = (
            SQL("ALTER ROLE {} IN DATABASE {}").format(Identifier(role), database) if role else SQL("ALTER DATABASE {}").format(database)
        )
        for setting in settings:
            key, value = setting.split("=", 1)
            # The value of a list setting is stored as it is written: quoted as one literal it would become one name.
            written = SQL(value) if key in _LISTS else Literal(value)
            statements.append(whose + SQL(" SET {} TO {}").format(Identifier(key), written))
    row = connection.execute(
        "SELECT datconnlimit, shobj_description(oid, 'pg_database'), datacl IS NULL FROM pg_database WHERE datname = %s", (source,)
    ).fetchone()
    assert row is not None
    limit, comment, default_privileges = row
    statements.append(SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(database, Literal(limit)))
    statements.append(SQL("COMMENT ON DATABASE {} IS {}").format(database, Literal(comment)))
    if not default_privileges:
        statements.append(SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
        for grantee, privilege, grantable in connection.execute(
            "SELECT pg_get_userbyid(nullif(a.grantee, 0)), a.privilege_type, a.is_grantable"
            " FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = %s",
            (source,),
        ).fetchall():
            to = Identifier(grantee) if grantee else SQL("PUBLIC")
            option = SQL(" WITH GRANT OPTION") if grantable and grantee else SQL("")
            statements.append(SQL("GRANT {} ON DATABASE {} TO {}").format(SQL(privilege), database, to) + option)
    with connection.transaction():
        for statement in statements:
            connection.execute(statement)


def drop(connection: Connection[Any], database: str) -> None:
    """The database is gone, and whoever was connected to it is not; no error when there is none."""
    from psycopg.sql import SQL, Identifier

    connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(database)))


def rename_all(connection: Connection[Any], renames: Sequence[tuple[str, str]], *, attempts: int = 20) -> None:
    """Renames databases in one transaction, in the order given: all or none. Sessions in them are ended first.

    A client that reconnects between the two steps makes the rename fail; so it is tried again. Raises SwapError when it never works.
    """
    import psycopg
    from psycopg.sql import SQL, Identifier

    involved = [old for old, _ in renames]
    for _ in range(attempts):
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = ANY(%s) AND pid <> pg_backend_pid()", (involved,)
        )
        try:
            with connection.transaction():
                for old, new in renames:
                    connection.execute(SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(old), Identifier(new)))
            return
        except psycopg.errors.ObjectInUse:
            continue
        except psycopg.Error as error:
            raise SwapError(f"The databases could not be renamed: {error}", state="Both have the names they had.") from error
    raise SwapError(
        f"The databases could not be renamed: something reconnects to {involved[0]} faster than it can be shut out.",
        state="Both have the names they had.",
        todo="Stop whatever else uses the database (`officeops status`) and try again.",
    )
