"""A database restored beside the live one, which is not touched: loaded, compared with what it must be, asked the runbook's questions."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from officeops.errors import DiskFullError, OfficeOpsError, UsageError
from officeops.postgres import databases, tools
from officeops.postgres.connect import connected
from officeops.postgres.fingerprint import Difference, Fingerprint, differences, take
from officeops.process import run
from officeops.progress import Meter
from officeops.restores.source import BackupSource, Source, Spool, spooled
from officeops.streams import read_chunks

if TYPE_CHECKING:
    from officeops.site import Site

# A restore can be repeated from the start, so it need not wait for the disk at each commit; indexes are built in memory where they fit.
# Nothing is lost by it: the swap's own commit waits for all that was written before.
_CORES = os.cpu_count() or 1
_LOAD_OPTIONS = {
    "synchronous_commit": "off",
    "maintenance_work_mem": "128MB",
    "max_parallel_maintenance_workers": str(_CORES // 4),  # indexes are built side by side anyway: more only helps where cores are idle
}
_JOBS = 2 * _CORES  # measured: while one waits for the log or the disk, another works
_HEADROOM = 1.1


class PreconditionError(OfficeOpsError):
    """A restore cannot work here and now. Nothing was touched."""


class NotEqualError(OfficeOpsError):
    """What was restored is not what was backed up."""

    def __init__(self, label: str, found: list[Difference]) -> None:
        self.differences = found
        shown = "; ".join(map(str, found[:5])) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
        super().__init__(
            f"The database restored from {label} is not equal to what was backed up: {shown}.",
            state="The live database is untouched; the restored one is removed.",
            todo="Restore from another backup or target.",
        )


@dataclass(frozen=True)
class TableCheck:
    """Rows of a table after a restore; `expected` None when the source says nothing of it."""

    rows: int
    expected: int | None
    match: bool


class Beside:
    """One restore into a database of its own. Verbs in the order of a restore; each may be run again."""

    def __init__(self, site: Site, source: Source, database: str, *, operation: str) -> None:
        self.site, self.source, self.database, self.operation = site, source, database, operation
        self._timeout = site.config.runbook.backups.timeout_minutes * 60
        self._files = ExitStack()
        self._spool: Spool | None = None
        self.fingerprint: Fingerprint | None = None

    @property
    def label(self) -> str:
        """What the sessions of this restore call themselves on the server."""
        return f"officeops {self.operation}"

    def check(self) -> None:
        """Everything that can be known before anything is touched: version, extensions, disk. Raises PreconditionError."""
        home = self.site.home
        home.mkdir(parents=True, exist_ok=True)
        needed, free = self._bytes_needed(), shutil.disk_usage(home).free
        if free < needed:
            raise DiskFullError(
                f"A restore of {self.source.label} needs about {needed:,} bytes; {home} has {free:,}.",
                state="Nothing was touched.",
                todo="Free space there first: the restored database stands beside the live one for a while.",
            )
        if isinstance(self.source, BackupSource):
            self._check_server(self.source)

    def _bytes_needed(self) -> int:
        database = self.source.manifest.database.size_bytes if self.source.manifest else self.source.size
        return int((self.source.size + database) * _HEADROOM)

    def _check_server(self, source: BackupSource) -> None:
        facts = source.manifest.database
        with self._maintenance() as connection:
            ours = connection.info.server_version
            available = {name for (name,) in connection.execute("SELECT name FROM pg_available_extensions").fetchall()}
        if facts.server_version_num // 10000 > ours // 10000:
            raise PreconditionError(
                f"The backup {source.label} is of PostgreSQL {facts.server_version}; this server is {ours // 10000}.",
                state="Nothing was touched.",
                todo="Restore on a server of the same or a later major version.",
            )
        missing = sorted(set(facts.extensions) - available)
        if missing:
            raise PreconditionError(
                f"The backup {source.label} needs extensions that this server does not have: {', '.join(missing)}.",
                state="Nothing was touched.",
                todo="Install them on the server and try again.",
            )

    def fetch(self) -> None:
        """The dump, decoded and checked to its last byte, in a file that can be read in parallel."""
        self.site.ledger.advance(self.operation, "fetch")
        self._files.close()
        folder = self.site.home / "spool" / self.operation
        spool = self._files.enter_context(spooled(self.source, folder))
        if spool.shape == "custom" and not isinstance(self.source, BackupSource):
            self._read_whole(spool)
        self._spool = spool

    def _read_whole(self, spool: Spool) -> None:
        """A foreign archive has no checksum: read each entry of its table of contents."""
        try:
            run(self.site.stack.tool(tools.pg_restore_read_all(str(spool.path)), files=[spool.path]), timeout=self._timeout)
        except OfficeOpsError as error:
            raise UsageError(
                f"{self.source.label} is damaged or cut short: {error}",
                state="The live database is untouched.",
                todo="Use another backup; this one cannot be restored.",
            ) from error

    def load(self) -> None:
        """Everything of the dump into a new, empty database, made like the one that was backed up."""
        self.site.ledger.advance(self.operation, "load", database=self.database)
        facts = self.source.manifest.database if self.source.manifest else self._live_facts()
        with self._maintenance() as connection:
            self._create_missing_roles(connection)
            databases.drop(connection, self.database)
            databases.create_like(connection, self.database, facts)
        spool = self._fetched()
        meter = Meter("restore", None)
        if spool.shape == "custom":
            argv = tools.pg_restore(self.database, str(spool.path), jobs=_JOBS)
            run(self.site.stack.tool(argv, files=[spool.path], options=_LOAD_OPTIONS), timeout=self._timeout)
        else:
            with spool.path.open("rb") as file:
                tools.feed(
                    self.site.stack.tool(tools.psql_script(self.database), options=_LOAD_OPTIONS), read_chunks(file), timeout=self._timeout
                )
        meter.finish()

    def _live_facts(self) -> Any:
        from officeops.postgres.snapshot import facts

        live = self.site.stack.database()
        with self._maintenance() as connection:
            if not databases.exists(connection, live.database):
                return None
        with connected(live, application=self.label) as connection:
            return facts(connection, self.site.config.runbook.database.revision_table)

    def _create_missing_roles(self, connection: Any) -> None:
        """Owners and grantees that this server does not have, as the backup knows them. Existing roles stay as they are."""
        if not isinstance(self.source, BackupSource):
            return
        missing = set(self.source.manifest.database.roles) - databases.roles(connection)
        if missing:
            script = b"".join(self.source.chunks("globals")).decode()
            for statement in role_statements(script, missing):
                connection.execute(statement.encode())

    def compare(self) -> Mapping[str, TableCheck]:
        """Fingerprints of the restored database against the manifest's. Raises NotEqualError; for a foreign file only counts rows."""
        self.site.ledger.advance(self.operation, "compare")
        with connected(self._address(), application=self.label) as connection:
            version = connection.info.server_version
            self.fingerprint = take(connection)
        expected = self._expected(version)
        if expected is None:
            return {name: TableCheck(counted.rows, None, True) for name, counted in self.fingerprint.tables.items()}
        found = differences(expected, self.fingerprint)
        if found:
            raise NotEqualError(self.source.label, found)
        return {name: TableCheck(counted.rows, expected.tables[name].rows, True) for name, counted in self.fingerprint.tables.items()}

    def _expected(self, version: int) -> Fingerprint | None:
        if not isinstance(self.source, BackupSource):
            return None
        expected, backed_up = self.source.manifest.fingerprint, self.source.manifest.database.server_version_num
        if backed_up // 10000 == version // 10000:
            return expected
        # Another major version words definitions and default privileges in another way; data it does not.
        assert self.fingerprint is not None
        return expected.model_copy(update={"definitions": self.fingerprint.definitions, "grants": self.fingerprint.grants})

    def smoke(self) -> None:
        """The runbook's questions. Raises OfficeOpsError naming the one that has no answer."""
        ask(self.site, self._address().database, application=self.label)

    def check_structure(self) -> None:
        """amcheck: every B-tree index and every heap page of the restored database."""
        self.site.ledger.advance(self.operation, "amcheck")
        with connected(self._address(), application=self.label) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA pg_catalog")
        run(self.site.stack.tool(tools.pg_amcheck(self.database, _CORES)), timeout=self._timeout)

    def analyze(self) -> None:
        """Statistics for the planner: a dump has none, and a database without them is slow when it goes live."""
        with connected(self._address(), application=self.label) as connection:
            connection.execute("ANALYZE")

    def drop(self) -> None:
        """The restored database is gone."""
        with self._maintenance() as connection:
            databases.drop(connection, self.database)

    def close(self) -> None:
        """The decoded dump is gone."""
        self._files.close()

    def _fetched(self) -> Spool:
        if self._spool is None:
            raise OfficeOpsError(f"The restore {self.operation} has not fetched its dump yet.")
        return self._spool

    def _address(self) -> Any:
        return replace(self.site.stack.database(), database=self.database)

    def _maintenance(self) -> Any:
        return databases.maintenance(self.site.stack.database(), application=self.label)


def ask(site: Site, database: str, *, application: str) -> None:
    """Asks `database` the runbook's smoke queries. Raises OfficeOpsError naming the first that fails or answers nothing."""
    import psycopg

    with connected(replace(site.stack.database(), database=database), application=application) as connection:
        connection.execute("SET search_path TO public, pg_catalog")
        for query in site.config.runbook.database.smoke:
            try:
                answer = connection.execute(query.sql.encode()).fetchone()
            except psycopg.Error as error:
                raise OfficeOpsError(f"The smoke query “{query.name}” failed in {database}: {error}") from error
            if answer is None:
                raise OfficeOpsError(f"The smoke query “{query.name}” found nothing in {database}.")


def role_statements(script: str, missing: set[str]) -> list[str]:
    """Of a dump of globals, the statements that make the roles in `missing` and their memberships."""
    quoted = {name if re.fullmatch(r"[a-z_][a-z0-9_$]*", name) else '"' + name.replace('"', '""') + '"' for name in missing}
    starts = [f"CREATE ROLE {name};" for name in quoted] + [f"ALTER ROLE {name} WITH " for name in quoted]
    members = [f" TO {name}" for name in quoted]
    return [
        line
        for line in script.splitlines()
        if any(line.startswith(start) for start in starts)
        or (line.startswith("GRANT ") and " ON " not in line and any(f"{member} " in line or f"{member};" in line for member in members))
    ]
