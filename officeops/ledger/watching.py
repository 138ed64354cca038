"""What the watcher keeps in the ledger: measured values, alerts, silences, incidents."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, func, select

from officeops.clock import iso, parse_iso
from officeops.ledger.schema import alerts, incidents, samples, silences

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from officeops.alerts.engine import Alert
    from officeops.alerts.quiet import Silence
    from officeops.releases.watch import Figures

_ALERTS_LOCK = 0x0FF1CE + 1
_KEPT = timedelta(days=90)
ASKED = "asked"  # an incident's outcome while a person has not answered yet
_TIMES = ("since", "seen_at", "fired_at", "told_at", "well_since", "resolved_at")


@dataclass(frozen=True)
class Sample:
    """One round's values by name. at: ISO 8601 in UTC. wrong: names of what was not well. counters: of the application, by service and
    colour. measures: by name, what is measured."""

    at: str
    values: Mapping[str, float | None]
    wrong: tuple[str, ...] = ()
    counters: Mapping[str, Figures] = field(default_factory=dict)
    measures: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def moment(self) -> datetime:
        """`at` as a time."""
        return parse_iso(self.at)


@dataclass(frozen=True)
class Taken:
    """A step of an incident's timeline. at: ISO 8601 in UTC. outcome: done, failed, skipped, asked, approved, well, still wrong."""

    at: str
    what: str
    outcome: str
    detail: str = ""


@dataclass(frozen=True)
class Incident:
    """Something that was mended, or was tried to. outcome: healed (a step mended it), well (nothing was wrong any more), paged (a person was
    called), refused (somebody was at work, or whoever was asked said no), failed (it was broken off), asked (a person must approve the next
    step; then it goes on); None while it goes on."""

    id: str
    target: str
    probe: str
    remedy: str
    started_at: str
    who: str
    ended_at: str | None = None
    outcome: str | None = None
    steps: tuple[Taken, ...] = ()
    diagnosis: str = ""

    @property
    def actions(self) -> tuple[str, ...]:
        """The steps of the ladder that were taken, by name."""
        return tuple(step.what for step in self.steps if step.what != "end" and step.outcome in ("well", "still wrong"))

    @property
    def asks(self) -> str | None:
        """The step that a person has to approve, None when none waits for that."""
        return self.steps[-1].what if self.outcome == ASKED else None


class WatchRecords:
    """The part of the ledger that is the watcher's."""

    _stack: str

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Connection]: ...

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Connection]: ...

    def record_sample(self, sample: Sample, *, keep_since: datetime) -> None:
        """Adds a round, or replaces one of the same moment. Those before `keep_since` go."""
        from officeops.probes.figures import stored

        with self._writing() as connection:
            mine = samples.c.stack == self._stack
            connection.execute(delete(samples).where(mine, (samples.c.at < iso(keep_since)) | (samples.c.at == sample.at)))
            row = {
                "stack": self._stack,
                "at": sample.at,
                "values": dict(sample.values),
                "wrong": list(sample.wrong),
                "measures": dict(sample.measures),
            }
            connection.execute(samples.insert().values(**row, counters=stored(sample.counters)))

    def samples(self, *, since: datetime, day_before: datetime | None = None) -> list[Sample]:
        """Rounds since then, oldest first; before them the first one after `day_before`."""
        query = select(samples).where(samples.c.stack == self._stack).order_by(samples.c.at)
        with self._reading() as connection:
            rows = list(connection.execute(query.where(samples.c.at >= iso(since))).mappings())
            if day_before is not None:
                early = and_(samples.c.at >= iso(day_before), samples.c.at < iso(since))
                rows = [*connection.execute(query.where(early).limit(1)).mappings(), *rows]
        return list(_samples(rows))

    # Alerts

    def change_alerts(self, step: Callable[[dict[str, Alert]], Sequence[Alert]]) -> None:
        """Replaces the open alerts by what `step` makes of them, in one transaction: nobody else changes any meanwhile."""
        with self._writing() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_ALERTS_LOCK)))
            mine = alerts.c.stack == self._stack
            known = [_alert(row) for row in connection.execute(select(alerts).where(mine, alerts.c.resolved_at.is_(None))).mappings()]
            after = step({one.name: one for one in known})
            connection.execute(delete(alerts).where(mine, alerts.c.resolved_at.is_(None)))
            for one in after:
                connection.execute(alerts.insert().values(stack=self._stack, **_row(one)))
            if newest := max((one.seen_at for one in after), default=None):
                connection.execute(delete(alerts).where(mine, alerts.c.resolved_at < iso(newest - _KEPT)))

    def alerts(self, *, open_only: bool = True, limit: int | None = None) -> list[Alert]:
        """Alerts, newest first."""
        query = select(alerts).where(alerts.c.stack == self._stack).order_by(alerts.c.since.desc(), alerts.c.name).limit(limit)
        if open_only:
            query = query.where(alerts.c.resolved_at.is_(None))
        with self._reading() as connection:
            return [_alert(row) for row in connection.execute(query).mappings()]

    def record_silence(self, silence: Silence) -> None:
        """Adds a silence, or replaces the one of that id."""
        with self._writing() as connection:
            same = and_(silences.c.stack == self._stack, silences.c.id == silence.id)
            connection.execute(delete(silences).where(same))
            connection.execute(silences.insert().values(stack=self._stack, **vars(silence)))

    def silences(self, now: datetime) -> list[Silence]:
        """Those that hold now."""
        from officeops.alerts.quiet import Silence

        query = select(silences).where(silences.c.stack == self._stack, silences.c.until > iso(now)).order_by(silences.c.until)
        with self._reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [Silence(**{key: value for key, value in row.items() if key != "stack"}) for row in rows]

    # Incidents

    def record_incident(self, incident: Incident) -> None:
        """Adds an incident, or replaces what was known of it."""
        with self._writing() as connection:
            same = and_(incidents.c.stack == self._stack, incidents.c.id == incident.id)
            connection.execute(delete(incidents).where(same))
            row = {**vars(incident), "steps": [vars(step) for step in incident.steps]}
            connection.execute(incidents.insert().values(stack=self._stack, **row))

    def incidents(self, *, since: datetime | None = None, target: str | None = None, limit: int | None = None) -> list[Incident]:
        """Incidents, newest first."""
        query = select(incidents).where(incidents.c.stack == self._stack).order_by(incidents.c.started_at.desc()).limit(limit)
        if since is not None:
            query = query.where(incidents.c.started_at >= iso(since))
        if target is not None:
            query = query.where(incidents.c.target == target)
        with self._reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Incident(**{**{key: row[key] for key in row if key != "stack"}, "steps": tuple(Taken(**step) for step in row["steps"])})
            for row in rows
        ]


def _row(alert: Alert) -> dict[str, Any]:
    facts = {key: iso(value) if isinstance(value, datetime) else value for key, value in vars(alert).items()}
    resolved = facts.pop("resolved_at")
    return {"name": facts.pop("name"), "since": facts.pop("since"), "phase": facts.pop("phase"), "resolved_at": resolved, "facts": facts}


def _alert(row: Mapping[Any, Any]) -> Alert:
    from officeops.alerts.engine import Alert

    given: dict[str, Any] = {**row["facts"], **{key: row[key] for key in ("name", "since", "phase", "resolved_at")}}
    times: dict[str, Any] = {key: parse_iso(given[key]) for key in _TIMES if given[key]}
    return Alert(**{**given, **times})


def _samples(rows: Sequence[Mapping[Any, Any]]) -> Iterator[Sample]:
    from officeops.probes.figures import restored

    for row in rows:
        yield Sample(row["at"], row["values"], tuple(row["wrong"]), restored(row["counters"]), row["measures"])
