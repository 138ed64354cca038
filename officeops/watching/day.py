"""The last day's values, drawn together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from officeops.probes.reading import Reading
from officeops.probes.rules import RULES, Judged, Unit, rule_of
from officeops.probes.words import threshold

if TYPE_CHECKING:
    from officeops.ledger.watching import Sample
    from officeops.site import Site

_POINTS = 48  # half an hour each


@dataclass(frozen=True)
class Line:
    """A value's course. values: the worst of each half hour, None where nothing was asked. wrong: in how many rounds it was."""

    name: str
    unit: Unit
    threshold: str
    last: float | None
    least: float | None
    most: float | None
    wrong: int
    count: int
    values: tuple[float | None, ...]


def day(site: Site) -> list[Line]:
    """A line for each value that the last round had and that has a measure of its own."""
    now = site.clock()
    samples = site.ledger.samples(since=now - timedelta(days=1))
    if not samples:
        return []
    names = {name: measure for name in samples[-1].values if (measure := samples[-1].measures.get(name))}
    return [_line(site, name, measure, samples) for name, measure in names.items() if RULES[measure].limit is not None]


def _line(site: Site, name: str, measure: str, samples: Sequence[Sample]) -> Line:
    rule = rule_of(measure, name, site.config.runbook.alerts.rules)
    seen = [value for one in samples if (value := one.values.get(name)) is not None]
    last = samples[-1].values.get(name)
    judged = Judged(Reading(name, measure, last), rule, ok=True)
    wrong = sum(name in one.wrong for one in samples)
    return Line(
        name, rule.unit, threshold(judged), last, min(seen, default=None), max(seen, default=None), wrong, len(samples),
        _buckets(name, samples, low=rule.low),
    )  # fmt: skip


def _buckets(name: str, samples: Sequence[Sample], *, low: bool) -> tuple[float | None, ...]:
    end = samples[-1].moment
    found: list[float | None] = [None] * _POINTS
    for one in samples:
        place = _POINTS - 1 - int((end - one.moment) / timedelta(days=1) * _POINTS)
        value = one.values.get(name)
        if value is None or not 0 <= place < _POINTS:
            continue
        before = found[place]
        found[place] = value if before is None else min(before, value) if low else max(before, value)
    return tuple(found)
