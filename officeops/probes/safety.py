"""Backups: how old the newest is that was read back whole, and the newest that was restored."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from officeops.clock import parse_iso
from officeops.probes.reading import Reading

if TYPE_CHECKING:
    from officeops.backups.catalogue import Entry
    from officeops.site import Site


def ask_backups(site: Site) -> Iterator[Reading]:
    """From the ledger's index."""
    from officeops.backups.catalogue import entries, of_the_database

    return readings(of_the_database(entries(site)), site.config.runbook.backups.max_age_hours, site.clock())


def readings(known: list[Entry], max_age_hours: float, now: datetime) -> Iterator[Reading]:
    """known: newest first."""
    verified = next((one for one in known if one.verified), None)
    if verified is None:
        yield Reading("backups.verified", "backup_age", None, "There is no verified backup.", limit=max_age_hours)
    else:
        yield Reading("backups.verified", "backup_age", _hours(verified.at, now), f"since {verified.id}", limit=max_age_hours)
    drilled = max((one.drilled_at for one in known if one.drilled_at), default=None)
    since = drilled or min((one.at for one in known), default=None)
    if since is not None:
        yield Reading(
            "backups.drilled",
            "drill_age",
            _hours(since, now),
            "since the last drill" if drilled else "since the first backup, no drill yet",
        )


def _hours(at: str, now: datetime) -> float:
    return (now - parse_iso(at)).total_seconds() / 3600
