"""Which exported days are kept, and why; and removing the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import TYPE_CHECKING

from officeops.errors import OfficeOpsError
from officeops.logs.collecting import alone
from officeops.logs.storing import remove

if TYPE_CHECKING:
    from officeops.ledger.logs import LogPart
    from officeops.site import Site


@dataclass(frozen=True)
class DayDecision:
    """What becomes of a service's lines of one day (UTC), with the reason for it. bytes: that it takes in each target."""

    service: str
    day: str
    lines: int
    bytes: int
    keep: bool
    reason: str
    parts: tuple[LogPart, ...]


def decide(parts: Iterable[LogPart], keep_days: int, now: datetime) -> list[DayDecision]:
    """A decision for each service and day, oldest first. A pure function."""
    found = []
    ordered = sorted(parts, key=lambda part: (part.day, part.service))
    for (day, service), group in groupby(ordered, key=lambda part: (part.day, part.service)):
        mine = tuple(group)
        keep, reason = _judged(day, mine, keep_days, now)
        found.append(DayDecision(service, day, sum(one.lines for one in mine), sum(one.bytes for one in mine), keep, reason, mine))
    return found


def plan(site: Site) -> list[DayDecision]:
    """What `apply` would do now. Changes nothing."""
    return decide(site.ledger.log_parts(), site.config.runbook.logs.keep_days, site.clock())


def apply(site: Site) -> tuple[list[DayDecision], list[str]]:
    """Removes what is not kept. Returns every decision, and what could not be removed: it is tried again next time."""
    troubles = []
    with alone(site, "storing"):
        decisions = plan(site)
        for one in decisions:
            try:
                for part in () if one.keep else one.parts:
                    remove(site, part)
            except OfficeOpsError as error:
                troubles.append(f"{one.service} of {one.day}: {error}")
    return decisions, troubles


def _judged(day: str, parts: Sequence[LogPart], keep_days: int, now: datetime) -> tuple[bool, str]:
    if any(part.waits for part in parts):
        return True, "some of it is not stored in every target yet"
    try:
        age = (now.date() - date.fromisoformat(day)).days
    except ValueError:  # a service may print a day that there is not
        return True, "it is no day of the calendar: look at it"
    if age <= keep_days:
        return True, f"{max(0, age)} days old; {keep_days} are kept"
    return False, f"{age} days old; {keep_days} are kept"
