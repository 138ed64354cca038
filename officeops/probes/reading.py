"""What a probe finds: numbers with names, so that rules, trends and alerts treat all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

ASKED = "asked"  # the measure that says whether a probe could be asked at all


@dataclass(frozen=True)
class Reading:
    """name: of what, the same in every round, `SUBJECT.WHAT`. measure: names the rule that judges it. value: in the measure's unit, 1 and 0
    for yes and no; None when it could not be asked. limit: this one's own, in place of the rule's. facts: what a proposal is made of."""

    name: str
    measure: str
    value: float | None
    detail: str = ""
    limit: float | None = None
    facts: Mapping[str, float] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """What it is about: a service of the runbook, or `host`, `prefect`, `backups`."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Probe:
    """Something that is asked as a whole. name: of the reading that says whether it could be asked. timeout: seconds."""

    name: str
    timeout: float
    ask: Callable[[], Iterable[Reading]]


def yes(name: str, measure: str, problem: str) -> Reading:
    """A reading that is well when there is no problem."""
    return Reading(name, measure, 0.0 if problem else 1.0, problem)
