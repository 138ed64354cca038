"""Connections to the application's database server, and the errors that come of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from officeops.errors import OfficeOpsError, TransientError
from officeops.stack.port import DatabaseAddress

if TYPE_CHECKING:
    from psycopg import Connection

# Text made of values must not depend on who asks: what is hashed on one server has to hash the same on another.
PINNED = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "search_path": "pg_catalog",
    "lc_monetary": "C",
    "xmloption": "content",
    "quote_all_identifiers": "off",
    "row_security": "off",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}


class DatabaseError(OfficeOpsError):
    """The database server said no."""


class DatabaseDownError(TransientError):
    """The database server cannot be reached, or went away."""


@contextmanager
def connected(address: DatabaseAddress, *, application: str, autocommit: bool = True, timeout: float = 10) -> Iterator[Connection[Any]]:
    """A session with the pinned settings, closed at the end of the block. timeout: seconds for the server to let us in.

    Raises DatabaseDownError when the server does not answer or goes away, DatabaseError when it refuses
    (a wrong password, no such database).
    """
    import psycopg

    connection: Connection[Any] | None = None
    try:
        connection = psycopg.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password.get_secret_value(),
            dbname=address.database,
            application_name=application,
            connect_timeout=math.ceil(timeout),
            autocommit=True,
            client_encoding="UTF8",
            keepalives_idle=30,
        )
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS pinned(name, value)", _pins())
        connection.autocommit = autocommit
        yield connection
    except psycopg.OperationalError as error:
        raise _explained(error, address) from error
    finally:
        if connection is not None:
            connection.close()


def _pins() -> tuple[list[str], list[str]]:
    return list(PINNED), list(PINNED.values())


def _explained(error: Exception, address: DatabaseAddress) -> OfficeOpsError:
    where = f"{address.user}@{address.host}:{address.port}/{address.database}"
    said = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    if "password authentication failed" in str(error):
        return DatabaseError(
            f"The database refused the password of {where}.",
            state="Nothing was changed.",
            todo="Correct POSTGRES_PASSWORD in .env.",
        )
    if "does not exist" in str(error) or "permission denied" in str(error):
        return DatabaseError(f"The database refused {where}: {said}", todo="Check POSTGRES_USER and POSTGRES_DB in .env.")
    if "No space left" in str(error) or "disk is full" in str(error).lower():
        return DatabaseError(f"The database server has no space left: {said}", todo="Free space where its data directory is.")
    return DatabaseDownError(
        f"The database at {where} does not answer: {said}",
        todo="See `officeops status` and `officeops logs postgres`.",
    )
