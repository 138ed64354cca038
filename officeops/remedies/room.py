"""The disk fills; memory fills."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from officeops.errors import OfficeOpsError
from officeops.postgres.connect import connected
from officeops.releases.renewal import renew
from officeops.remedies.remedy import Patient, Remedy, Step
from officeops.remedies.services import memory_by_service

if TYPE_CHECKING:
    from officeops.archive.batch import Batch
    from officeops.site import Site

_LARGEST = 10
_DAY = timedelta(days=1)


class Disk(Remedy):
    """A file system is fuller than it may be."""

    name = "disk"

    def fits(self, patient: Patient) -> bool:
        """Room or inodes of the host."""
        return patient.measure in ("disk", "inodes")

    def diagnose(self, patient: Patient) -> Mapping[str, str]:
        """What takes it."""
        site = patient.site
        return {"largest directories": _largest(site.home), "releases": _built(site), "logs": _logs(site), "tables": _tables(site)}

    def ladder(self, patient: Patient) -> Sequence[Step]:
        """Old logs, releases that nothing needs, rows that are archived already. To archive more is for a person to begin: files need room
        first, and their rows may only leave after a grace and a drilled backup."""
        site = patient.site
        return [
            Step("rotate logs", lambda: rotate_logs(site), seconds=5),
            Step("prune releases", lambda: prune(site), seconds=5),
            Step("archive", lambda: remove_archived(site), lambda: nothing_archived(site), seconds=5),
        ]


class Memory(Remedy):
    """Memory is fuller than it may be."""

    name = "memory"

    def fits(self, patient: Patient) -> bool:
        """Of the host or of one service."""
        return patient.measure == "memory"

    def diagnose(self, patient: Patient) -> Mapping[str, str]:
        """By service, and what grew."""
        return {"by service": memory_by_service(patient.site), "grew most": str(grown(patient))}

    def ladder(self, patient: Patient) -> Sequence[Step]:
        """Restart what grew, without an interruption where it can be."""
        return [
            Step(
                "restart what grew", lambda: restart_gently(patient.site, grown(patient)), lambda: "" if grown(patient) else "nothing grew"
            )
        ]


def grown(patient: Patient) -> str | None:
    """The service itself, or for the whole host the one that grew most since the first round that the ledger has; not the database: its cache
    is meant to grow, and it is never restarted for that."""
    site, services = patient.site, patient.site.config.runbook.services
    if patient.service is not None:
        return patient.subject
    first = next(iter(site.ledger.samples(since=site.clock() - _DAY, day_before=None)), None)
    before = {name: (first.values.get(f"{name}.memory_bytes") or 0.0) if first else 0.0 for name in services}
    growth = {
        one.service: one.memory - before.get(one.service, 0.0) for one in site.stack.usage() if services[one.service].kind != "postgres"
    }
    largest = max(growth, key=lambda name: growth[name], default=None)
    return largest if largest and growth[largest] > 0 else None


def restart_gently(site: Site, service: str | None) -> str:
    """A rolled service by its other colour, so that nobody notices; another by a restart."""
    if service is None:
        return "nothing grew"
    if not site.config.runbook.services[service].rolled:
        site.stack.restart(service)
        return f"{service} was restarted"
    return f"{service} runs anew in {renew(site, why=f'{service} took too much memory')}, without an interruption"


def rotate_logs(site: Site) -> str:
    """What was printed is exported, as far as it can be; then exported logs go that are kept no longer, and the embedded stack's rotated
    ones. Live ones are supervisor's own to rotate."""
    from officeops.logs import retention, storing

    freed = 0
    exported = storing.export(site)
    retention.apply(site)
    if exported.troubles:
        return f"nothing is gone: {'; '.join(exported.troubles.values())}"
    for folder in (site.home / "stack" / "logs", site.home / "prefect" / "logs"):
        for file in folder.glob("*.log.*"):
            freed += file.stat().st_size
            file.unlink()
    return f"{freed / 1e6:.0f} MB of rotated logs are gone"


def prune(site: Site) -> str:
    """What no release that is kept, stack or service needs."""
    from officeops.upkeep.clean_up import clean_up

    done = clean_up(site)
    return f"{len(done.gone)} things are gone, {done.bytes / 1e6:.0f} MB{'; '.join(('', *done.troubles))}"


def remove_archived(site: Site) -> str:
    """Rows whose time has come leave the database, and the space is given back: they are in files that were read back, their grace is over,
    and a backup that is newer was restored in a drill."""
    from officeops.archive.batch import Batch

    gone = []
    for batch in Batch.pending(site):
        if not _waits_for(batch):
            batch.delete()
            batch.give_back()
            gone.append(f"{batch.id} ({batch.record.contents.rows:,} rows)")
    return f"left the database: {', '.join(gone) or 'nothing'}"


def nothing_archived(site: Site) -> str:
    """Why no row may leave now. Nothing is changed."""
    from officeops.archive import states
    from officeops.archive.batch import Batch

    policies = {one.name: one for one in site.config.runbook.archives}
    try:
        with states.session(site, "heal") as connection:
            known = states.batches(connection)
        waits = [_waits_for(Batch(site, policies[one.policy], one.id)) for one in known if one.state != "done" and one.policy in policies]
    except OfficeOpsError as error:
        return str(error)
    return "" if "" in waits else "; ".join(waits) or "nothing was archived that is still in the database"


def _waits_for(batch: Batch) -> str:
    from officeops.archive.batch import WaitingError

    try:
        batch.require_due()
    except WaitingError as error:
        return error.what
    return ""


def _largest(home: Path) -> str:
    sizes = {path.name: _size(path) for path in home.iterdir()}
    ranked = sorted(sizes.items(), key=lambda item: item[1], reverse=True)
    return "\n".join(f"{name}: {size / 1e6:.0f} MB" for name, size in ranked[:_LARGEST])


def _size(path: Path) -> int:
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum(
        (Path(folder) / name).lstat().st_size for folder, _, names in os.walk(path) for name in names if (Path(folder) / name).exists()
    )


def _built(site: Site) -> str:
    return "\n".join(f"{one.sha[:10]} of {one.built_at:%Y-%m-%d}" for one in site.stack.built())


def _logs(site: Site) -> str:
    files = sorted(site.home.glob("*/logs/*"), key=lambda path: path.stat().st_size, reverse=True)
    return "\n".join(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB" for path in files[:_LARGEST])


def _tables(site: Site) -> str:
    query = "SELECT relname, pg_size_pretty(pg_total_relation_size(relid)) FROM pg_catalog.pg_statio_user_tables ORDER BY pg_total_relation_size(relid) DESC LIMIT 10"
    with connected(site.stack.database(), application="officeops heal", timeout=3) as connection:
        return "\n".join(f"{name}: {size}" for name, size in connection.execute(query))
