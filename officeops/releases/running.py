"""Running a release's migration program: alone, with short waits for locks, ended when it hangs, nothing of it left in the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from officeops.errors import OfficeOpsError, RefusedError
from officeops.postgres.connect import connected
from officeops.postgres.snapshot import revision
from officeops.process import CommandError, CommandTimeoutError, run
from officeops.progress import Meter

if TYPE_CHECKING:
    from psycopg import Connection

    from officeops.site import Site
    from officeops.stack.port import Release

TIMEOUT_S = 900.0
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)  # between tries that did not get a lock: whoever holds it is given ever more time
_LOCK = 0x0FF1CE_0B5  # of the database that is migrated; any number that nobody else takes
_POLL_S, _LOOK_S = 0.2, 1.0
_APPLICATION = "officeops migration"
_NO_LOCK = ("LockNotAvailable", "55P03", "lock timeout", "deadlock detected")


class MigrationError(OfficeOpsError):
    """The migration program failed. The state says at which revision the schema is."""


class SchemaLockedError(RefusedError):
    """Another migration of this database runs."""


@dataclass(frozen=True)
class Limits:
    """timeout: seconds for a whole run of the migration program. pauses: seconds between tries that did not get a lock."""

    timeout: float = TIMEOUT_S
    pauses: Sequence[float] = PAUSES_S
    sleep: Callable[[float], None] = time.sleep


@contextmanager
def alone(site: Site, limits: Limits) -> Iterator[Connection[Any]]:
    """A session with the database's migration lock for the block; what a killed migration left in the database is ended first.

    Waits as long as a migration may take, then raises SchemaLockedError.
    """
    with connected(site.stack.database(), application="officeops migration lock") as connection:
        deadline = time.monotonic() + limits.timeout
        # Asked again and again: whoever waits inside pg_advisory_lock holds a snapshot, and CREATE INDEX CONCURRENTLY waits for that.
        while not _first(connection, "SELECT pg_try_advisory_lock(%s)", _LOCK):
            if time.monotonic() > deadline:
                raise SchemaLockedError("Another migration of this database is running.", state="Nothing was changed.")
            limits.sleep(_POLL_S)
        _end_sessions(connection)
        yield connection


def migrate(
    site: Site, connection: Connection[Any], release: Release, arguments: Sequence[str], path: Sequence[str | None], limits: Limits
) -> None:
    """Runs the release's migration program, which brings the schema through the revisions of `path`, on a connection of `alone`. A lock that
    is not free within the runbook's `releases.lock_timeout_ms` is tried for again after each pause.

    Raises MigrationError when it fails, takes too long or never gets its lock.
    """
    # libpq's own variables, so that every driver that is built on it obeys.
    environment = {"PGOPTIONS": f"-c lock_timeout={site.config.runbook.releases.lock_timeout_ms}", "PGAPPNAME": _APPLICATION}
    command = site.stack.migration(release, arguments, environment=environment)
    with _progress(site, connection, path):
        for pause in (*limits.pauses, None):
            try:
                run(command, timeout=limits.timeout)
                return
            except CommandError as error:
                if pause is None or isinstance(error, CommandTimeoutError) or not _wants_lock(error):
                    raise _explained(site, connection, error, limits) from error
            finally:
                _end_sessions(connection)
            limits.sleep(pause)


def _wants_lock(error: CommandError) -> bool:
    return any(word in error.stderr for word in _NO_LOCK)


def _end_sessions(connection: Connection[Any]) -> None:
    """The server does not notice that a client is gone while it works for it. Only migrations have this name, and only one runs."""
    connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()",
        (_APPLICATION,),
    )


def _explained(site: Site, connection: Connection[Any], error: CommandError, limits: Limits) -> MigrationError:
    at = revision(connection, site.config.runbook.database.revision_table)
    state = f"The schema is at {at or 'no revision'}: what came before is done, the revision that failed is not."
    if isinstance(error, CommandTimeoutError):
        return MigrationError(
            f"The migration took more than {limits.timeout:g} s and was ended, with its session in the database.", state=state
        )
    if _wants_lock(error):
        return MigrationError(
            f"The migration did not get its lock in {len(limits.pauses) + 1} tries.{_oldest(connection)}",
            state=state,
            todo="Wait for the end of these transactions, or end them, and try again.",
        )
    return MigrationError(f"The migration failed: {_last_words(error)}", state=state, todo="Mend the migration and deploy again.")


def _last_words(error: CommandError) -> str:
    """What the program said, without the places in its code."""
    lines = error.stderr.splitlines()
    last = max((number for number, line in enumerate(lines) if line.startswith('  File "')), default=-1)
    rest = lines[last + 1 :]
    while last >= 0 and rest and rest[0].startswith("    "):
        rest.pop(0)
    return "\n".join(rest) or str(error)


def _oldest(connection: Connection[Any]) -> str:
    """Who most likely holds the lock. No queries: they may hold what is not for everybody."""
    rows = connection.execute(
        "SELECT pid, coalesce(nullif(application_name, ''), 'unnamed'), state, extract(epoch FROM now() - xact_start)::int"
        " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
        " ORDER BY xact_start LIMIT 3"
    ).fetchall()
    told = "; ".join(f"{name} (process {pid}), {state}, for {seconds} s" for pid, name, state, seconds in rows)
    return f" The oldest transactions are of {told}." if told else ""


@contextmanager
def _progress(site: Site, connection: Connection[Any], path: Sequence[str | None]) -> Iterator[None]:
    """How many revisions are done, by what the database says."""
    meter, over = Meter("migrate", len(path), unit="revisions"), threading.Event()
    places = {identifier: number for number, identifier in enumerate(path, 1)}

    def look() -> None:
        import psycopg

        while not over.wait(_LOOK_S):
            with suppress(psycopg.Error):  # whoever runs the migration hears of it
                at = revision(connection, site.config.runbook.database.revision_table)
                meter.add(max(0, places.get(at, 0) - meter.done))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
        meter.add(len(path) - meter.done)
        meter.finish()
    finally:
        over.set()
        watcher.join()


def _first(connection: Connection[Any], query: str, value: object) -> Any:
    row = connection.execute(query.encode(), (value,)).fetchone()
    assert row is not None
    return row[0]
