"""The alerts of a site: a round's findings worked into what the ledger has, and what people may do about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from officeops.alerts.causes import cause_in
from officeops.alerts.engine import Alert, Change, Circumstances, acknowledged, advance
from officeops.alerts.quiet import Silence, is_expected, is_muted
from officeops.clock import iso
from officeops.errors import UsageError
from officeops.lock import lock_holder

if TYPE_CHECKING:
    from officeops.probes.rules import Judged
    from officeops.site import Site


def work_in(site: Site, judged: Sequence[Judged], now: datetime) -> list[Change]:
    """Advances every alert by a round. Returns what people are to be told."""
    runbook, settings = site.config.runbook, site.config.settings
    holder, silences = lock_holder(site.home, site.name), site.ledger.silences(now)
    given = Circumstances(
        expected=lambda name: is_expected(name, holder, runbook, now),
        muted=lambda name: is_muted(name, now, silences, runbook.alerts.maintenance, settings.zone),
        cause=cause_in(runbook),
    )
    changes: list[Change] = []

    def step(known: dict[str, Alert]) -> list[Alert]:
        after, told = advance(known, judged, now=now, terms=runbook.alerts, given=given)
        changes.extend(told)
        return after

    site.ledger.change_alerts(step)
    return changes


def acknowledge(site: Site, name: str, by: str) -> Change:
    """Somebody takes care of it: no reminders any more. Raises UsageError when there is no such alert."""
    done: list[Alert] = []

    def step(known: dict[str, Alert]) -> list[Alert]:
        done.extend(acknowledged(alert, by) for alert in known.values() if alert.name == name and alert.is_known)
        return [*[alert for alert in known.values() if alert.name not in {one.name for one in done}], *done]

    site.ledger.change_alerts(step)
    if not done:
        raise UsageError(f"There is no alert {name!r}.", todo="`officeops alerts` lists them.")
    return Change("acknowledged", done[0])


def silence(site: Site, pattern: str, hours: float, who: str, why: str) -> Silence:
    """Nobody is told of what matches for so long."""
    now = site.clock()
    made = Silence(uuid4().hex[:8], pattern, iso(now + timedelta(hours=hours)), who, why, iso(now))
    site.ledger.record_silence(made)
    return made


def end_silence(site: Site, identity: str) -> Silence:
    """It is over now. Raises UsageError when there is none of that id or pattern."""
    now = site.clock()
    found = next((one for one in site.ledger.silences(now) if identity in (one.id, one.pattern)), None)
    if found is None:
        raise UsageError(f"There is no silence {identity!r}.", todo="`officeops alerts` lists them.")
    ended = replace(found, until=iso(now))
    site.ledger.record_silence(ended)
    return ended
