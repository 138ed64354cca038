"""From what was found in a round to what people are told: a pure function, whose clock is an argument.

pending: wrong, but not for long enough. firing: people are told, once. acknowledged: somebody takes care; no reminders. It is over when it
was well for `alerts.clear_seconds`: what flaps fires once and stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from officeops.probes.rules import Judged
from officeops.probes.words import action, sentence
from officeops.runbook.parts import Role
from officeops.runbook.watching import Alerts, Severity

Phase = Literal["pending", "firing", "acknowledged", "resolved"]
Kind = Literal["firing", "acknowledged", "resolved", "reminder"]
_ROUND = timedelta(seconds=2)  # rounds come a little early or late
_FORGOTTEN = timedelta(hours=1)  # what is not asked any more is no alert


@dataclass(frozen=True)
class Alert:
    """name: of the reading. since: when it was first wrong. told_at: when people were told last, None: not yet. well_since: it has been
    well since then. cause: the alert that explains it, so that people are not told of this one. by: who acknowledged it."""

    name: str
    phase: Phase
    since: datetime
    seen_at: datetime
    measure: str
    text: str
    action: str
    severity: Severity
    role: Role
    fired_at: datetime | None = None
    told_at: datetime | None = None
    well_since: datetime | None = None
    resolved_at: datetime | None = None
    cause: str | None = None
    by: str | None = None

    @property
    def subject(self) -> str:
        """What it is about."""
        return self.name.partition(".")[0]

    @property
    def is_known(self) -> bool:
        """Whether it counts: not only a suspicion."""
        return self.phase in ("firing", "acknowledged")


@dataclass(frozen=True)
class Change:
    """Something that people are told. explained: names of the alerts that this one explains."""

    kind: Kind
    alert: Alert
    explained: tuple[str, ...] = ()


@dataclass(frozen=True)
class Circumstances:
    """What is known beside the readings. expected: what is being worked on, so that it is no alert. muted: nobody is told now. cause: of an
    alert, among the names of others that are open, the one that explains it."""

    expected: Callable[[str], bool] = lambda _name: False
    muted: Callable[[str], bool] = lambda _name: False
    cause: Callable[[Alert, Sequence[Alert]], str | None] = lambda _alert, _others: None


def advance(
    known: Mapping[str, Alert], judged: Sequence[Judged], *, now: datetime, terms: Alerts, given: Circumstances = Circumstances()
) -> tuple[list[Alert], list[Change]]:
    """The alerts after this round (those that are over included, suspicions that came to nothing left out), and what people are told.

    known: the open ones before, by name. What was not asked in this round stays as it is."""
    found = {one.reading.name: one for one in judged}
    after = [
        alert
        for name in {**known, **found}
        if (alert := _next(known.get(name), found.get(name), now, terms, expected=given.expected(name))) is not None
    ]
    after = _explained(after, given)
    return _told(after, now, terms, given)


def acknowledged(alert: Alert, by: str) -> Alert:
    """Somebody takes care of it."""
    return replace(alert, phase="acknowledged", by=by)


def _next(before: Alert | None, one: Judged | None, now: datetime, terms: Alerts, *, expected: bool) -> Alert | None:
    if one is None:
        return _unseen(before, now)
    wrong = one.rule.breached(one.reading.value, one.reading.limit, was=before is not None and before.is_known)
    if before is None or before.phase == "pending":
        if not wrong or expected:
            return None
        alert = replace(before or _suspicion(one, now), seen_at=now, text=sentence(one), action=action(one))
        due = now - alert.since + _ROUND >= timedelta(seconds=one.rule.for_seconds)
        return replace(alert, phase="firing", fired_at=now) if due else alert
    if wrong:
        return replace(before, seen_at=now, well_since=None, text=sentence(one), action=action(one))
    since = before.well_since or now
    over = now - since + _ROUND >= timedelta(seconds=terms.clear_seconds)
    alert = replace(before, seen_at=now, well_since=since)
    return replace(alert, phase="resolved", resolved_at=since) if over else alert


def _suspicion(one: Judged, now: datetime) -> Alert:
    return Alert(one.reading.name, "pending", now, now, one.reading.measure, "", "", one.rule.severity, one.rule.role)


def _unseen(before: Alert | None, now: datetime) -> Alert | None:
    """Not asked in this round: because it could not be asked, or because it is no more."""
    if before is None or now - before.seen_at < _FORGOTTEN:
        return before
    return replace(before, phase="resolved", resolved_at=now, text=f"{before.name} is not asked any more") if before.is_known else None


def _explained(alerts: Sequence[Alert], given: Circumstances) -> list[Alert]:
    """Each with its cause, the last of a chain of them. One that people were told of keeps standing for itself."""
    open_ones = [one for one in alerts if one.phase != "resolved"]
    causes = {one.name: given.cause(one, [other for other in open_ones if other.name != one.name]) for one in alerts if one.told_at is None}
    return [replace(one, cause=_root(one.name, causes)) if one.told_at is None else one for one in alerts]


def _root(name: str, causes: Mapping[str, str | None]) -> str | None:
    found, seen = causes[name], {name}
    while found is not None and found not in seen and (deeper := causes.get(found)) is not None:
        seen.add(found)
        found = deeper
    return found


def _told(alerts: Sequence[Alert], now: datetime, terms: Alerts, given: Circumstances) -> tuple[list[Alert], list[Change]]:
    after, changes = [], []
    for one in alerts:
        kind = _kind(one, now, terms, muted=given.muted(one.name))
        alert = replace(one, told_at=now) if kind in ("firing", "reminder") else one
        after.append(alert)
        if kind:
            explained = tuple(other.name for other in alerts if other.cause == one.name and other.is_known)
            changes.append(Change(kind, alert, explained))
    return after, changes


def _kind(one: Alert, now: datetime, terms: Alerts, *, muted: bool) -> Kind | None:
    """What people are told of it now."""
    if one.phase == "resolved":
        return "resolved" if one.told_at else None
    if muted or one.cause or one.phase != "firing" or one.well_since:
        return None
    if one.told_at is None:
        return "firing"
    return "reminder" if now - one.told_at + _ROUND >= timedelta(minutes=terms.remind_minutes) else None
