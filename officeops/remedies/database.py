"""The database refuses connections; a migration failed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from officeops.errors import OfficeOpsError
from officeops.postgres.connect import connected
from officeops.probes.host import disk_readings, file_systems
from officeops.remedies.remedy import Patient, Remedy, Step

if TYPE_CHECKING:
    from psycopg import Connection

    from officeops.site import Site

_FULL = 0.98  # of a file system: a restart would only make recovery fail too
_RECOVERING = ("starting up", "recovery", "not yet accepting")
_CLIENTS = """SELECT coalesce(application_name, '') || ' from ' || coalesce(client_addr::text, 'here') || ': ' || state, count(*), max(now() - state_change)::text
FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1 ORDER BY 2 DESC LIMIT 20"""
_END = """SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE state LIKE 'idle in transaction%%' AND now() - state_change > make_interval(secs => %s) AND pid <> pg_backend_pid()) AS ended"""


class Database(Remedy):
    """It refuses connections: down, recovering, or all of them are taken."""

    name = "database"

    def fits(self, patient: Patient) -> bool:
        """The database server."""
        return (
            patient.service is not None and patient.service.kind == "postgres" and patient.measure in ("healthy", "database", "connections")
        )

    def diagnose(self, patient: Patient) -> Mapping[str, str]:
        """Log, disk, who is connected."""
        return {
            "log": patient.last_words(50),
            "what it says": patient.detail,
            "disk": _disks(patient.site),
            "connections by client": _clients(patient.site),
        }

    def ladder(self, patient: Patient) -> Sequence[Step]:
        """Wait, end idle transactions, restart. Never a restart for a full disk."""
        site = patient.site
        return [
            Step("wait for its recovery", lambda: time.sleep(1), lambda: _not_recovering(patient), seconds=120),
            Step("end idle transactions", lambda: end_idle_transactions(site)),
            Step("restart", lambda: site.stack.restart(patient.subject, timeout=120), lambda: full_disk(site)),
        ]


class Migration(Remedy):
    """The last migration failed. A person approves the way back; `stamp` is for people only (`officeops migrate --help`)."""

    name = "migration"
    mode = "ask"

    def fits(self, patient: Patient) -> bool:
        """A schema that is not where the release has it."""
        return patient.measure == "migration"

    def diagnose(self, patient: Patient) -> Mapping[str, str]:
        """Where the schema is, its history, what failed."""
        from officeops.releases.schema import Schema

        history = "\n".join(str(one) for one in Schema(patient.site).history())
        return {"alembic current": str(Schema(patient.site).current()), "history": history, "what failed": patient.detail}

    def ladder(self, patient: Patient) -> Sequence[Step]:
        """One revision back; a backup goes before it, as before every downgrade."""
        return [Step("downgrade one", lambda: downgrade_one(patient.site), asks=True)]


def end_idle_transactions(site: Site) -> str:
    """Those over the runbook's limit. As superuser: some connections are kept for that."""
    limit = site.config.runbook.remedies.idle_transaction_seconds
    with _as_superuser(site) as connection:
        row = connection.execute(_END, [limit]).fetchone()
    count = row[0] if row else 0
    return f"{count} sessions that were idle in a transaction for over {limit:g} s were ended"


def downgrade_one(site: Site) -> str:
    """Back by one revision. Raises OfficeOpsError when there is no verified backup to go back to."""
    from officeops.backups.catalogue import entries, of_the_database
    from officeops.releases.schema import Schema

    if not any(one.verified for one in of_the_database(entries(site))):
        raise OfficeOpsError("There is no verified backup, so the schema is not taken back.", todo="`officeops backup` first.")
    done = Schema(site).downgrade("-1")
    return str(done)


def full_disk(site: Site) -> str:
    """Why a restart would not help: what is full."""
    full = [one.name for path in file_systems(site) for one in disk_readings(path) if one.measure == "disk" and (one.value or 0) >= _FULL]
    return f"{', '.join(full)} is full: a restart would make it worse" if full else ""


@contextmanager
def _as_superuser(site: Site) -> Iterator[Connection[Any]]:
    """In the maintenance database, so that the application's own is not needed."""
    with connected(site.stack.database("postgres"), application="officeops heal", timeout=5) as connection:
        yield connection


def _not_recovering(patient: Patient) -> str:
    said = f"{patient.detail} {patient.last_words(5)}"
    return "" if any(words in said for words in _RECOVERING) else "it is not recovering"


def _disks(site: Site) -> str:
    readings = [one for path in file_systems(site) for one in disk_readings(path) if one.measure == "disk"]
    return "\n".join(f"{one.name}: {100 * (one.value or 0):.0f} % {one.detail}" for one in readings)


def _clients(site: Site) -> str:
    with _as_superuser(site) as connection:
        rows = connection.execute(_CLIENTS).fetchall()
    return "\n".join(f"{who}: {count}, the oldest for {oldest}" for who, count, oldest in rows)
