"""The database refuses connections; a migration failed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from officeops.errors import OfficeOpsError
from officeops.postgres.connect import connected
from officeops.probes.host import disk_readings, file_systems
from officeops.releases.revisions import BASE
from officeops.remedies.remedy import Patient, Remedy, Step

if TYPE_CHECKING:
    from psycopg import Connection

    from officeops.releases.plans import DowngradePlan
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
    """A migration failed, and those before it in the same release stayed. A person approves the way back; `stamp` is for people only
    (`officeops migrate --help`)."""

    name = "migration"
    mode = "ask"

    def fits(self, patient: Patient) -> bool:
        """A schema that a release which did not take over has changed."""
        return patient.measure == "migration"

    def diagnose(self, patient: Patient) -> Mapping[str, str]:
        """Where the schema is, its history, what failed."""
        from officeops.releases.schema import Schema

        history = "\n".join(str(one) for one in Schema(patient.site).history())
        plan = left_behind(patient.site)
        undone = "\n".join(f"{one.id}: {one.doc}" for one in plan.revisions)
        gone = "; ".join(map(str, plan.drops)) or ("nothing" if plan.sql is not None else "not known")
        return {
            "alembic current": str(plan.current),
            "history": history,
            "what failed": patient.detail,
            "what would be undone": f"{undone}\ndropped with it: {gone}",
        }

    def ladder(self, patient: Patient) -> Sequence[Step]:
        """Back to where it was, mostly by one; a backup goes before it, as before every downgrade."""
        site = patient.site
        count = len(left_behind(site).revisions)
        return [Step("downgrade one" if count == 1 else f"downgrade {count}", lambda: downgrade(site), asks=True)]


def end_idle_transactions(site: Site) -> str:
    """Those over the runbook's limit. As superuser: some connections are kept for that."""
    limit = site.config.runbook.remedies.idle_transaction_seconds
    with _as_superuser(site) as connection:
        row = connection.execute(_END, [limit]).fetchone()
    count = row[0] if row else 0
    return f"{count} sessions that were idle in a transaction for over {limit:g} s were ended"


def left_behind(site: Site) -> DowngradePlan:
    """The way back to the revision at which the release that failed had found the schema."""
    from officeops.releases.schema import Schema

    (last,) = site.ledger.operations("rollout", outcome="undone", limit=1)
    if "expanded_from" not in last.facts:
        raise OfficeOpsError(f"The journal of {last.id} does not say where the schema was before it.")
    return Schema(site).plan_downgrade(last.facts["expanded_from"] or BASE)


def downgrade(site: Site) -> str:
    """Undoes what was left behind, after a backup. Raises OfficeOpsError when that could not be made and read back: then nothing is undone."""
    from officeops.backups.alone import back_up
    from officeops.releases.schema import Schema

    plan = left_behind(site)
    if plan.target is None:
        raise OfficeOpsError(
            "The schema is not taken back to its base by itself: that drops everything.", todo="`officeops migrate downgrade`."
        )
    backup = back_up(site).manifest.id
    done = Schema(site).downgrade(plan.target)
    return f"from {done.before} to {done.after}; the database before it: `officeops restore {backup}`"


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
    """By what it answers now: its log also tells of earlier recoveries."""
    return "" if any(words in patient.detail for words in _RECOVERING) else "it is not recovering"


def _disks(site: Site) -> str:
    readings = [one for path in file_systems(site) for one in disk_readings(path) if one.measure == "disk"]
    return "\n".join(f"{one.name}: {100 * (one.value or 0):.0f} % {one.detail}" for one in readings)


def _clients(site: Site) -> str:
    with _as_superuser(site) as connection:
        rows = connection.execute(_CLIENTS).fetchall()
    return "\n".join(f"{who}: {count}, the oldest for {oldest}" for who, count, oldest in rows)
