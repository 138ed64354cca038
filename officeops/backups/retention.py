"""Which backups are kept, and why: a pure function over what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from officeops.runbook.model import Retention


@dataclass(frozen=True)
class Candidate:
    """A backup in one target. `at` is aware."""

    id: str
    at: datetime
    verified: bool
    pinned: bool


@dataclass(frozen=True)
class Decision:
    """What becomes of a candidate, with every reason for it."""

    id: str
    keep: bool
    reasons: tuple[str, ...]


def decide(candidates: Iterable[Candidate], rules: Retention, zone: ZoneInfo) -> list[Decision]:
    """A decision for each candidate, newest first.

    Of each of the last N days (weeks, months) *that have a verified backup*, the newest one is kept; days are those of `zone`, weeks
    are ISO weeks. Counting days that have backups, not days of the calendar, means that a month without backups costs none of the old ones.
    Candidates that are not verified count for nothing and are never removed: a person should look at them.
    """
    ordered = sorted(candidates, key=lambda candidate: (candidate.at, candidate.id), reverse=True)
    good = [candidate for candidate in ordered if candidate.verified]
    reasons: dict[str, list[str]] = {candidate.id: [] for candidate in ordered}
    for position, candidate in enumerate(good[: rules.keep_last], 1):
        reasons[candidate.id].append(f"number {position} of the last {rules.keep_last}")
    periods: Sequence[tuple[str, int, Callable[[datetime], str]]] = (
        ("day", rules.daily, lambda at: f"{at:%Y-%m-%d}"),
        ("week", rules.weekly, lambda at: f"{at:%G-W%V}"),
        ("month", rules.monthly, lambda at: f"{at:%Y-%m}"),
    )
    for name, count, label in periods:
        for period, identifier in _newest_of_each(good, count, lambda at, label=label: label(at.astimezone(zone))):  # type: ignore[misc]
            reasons[identifier].append(f"newest of {name} {period}")
    for candidate in ordered:
        if candidate.pinned:
            reasons[candidate.id].append("pinned")
        if not candidate.verified:
            reasons[candidate.id].append("not verified: look at it before it goes")
    return [Decision(candidate.id, bool(why := tuple(reasons[candidate.id])), why or ("no rule keeps it",)) for candidate in ordered]


def _newest_of_each(ordered: Iterable[Candidate], count: int, label: Callable[[datetime], str]) -> Iterable[tuple[str, str]]:
    newest: dict[str, str] = {}
    for candidate in ordered:
        newest.setdefault(label(candidate.at), candidate.id)
    return list(newest.items())[:count]
