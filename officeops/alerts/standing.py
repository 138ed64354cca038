"""What somebody should look at now, for `status`: what can be seen at once, and what the watcher knows beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from officeops.probes import safety
from officeops.probes.rules import judge
from officeops.probes.services import readings
from officeops.probes.words import sentence

if TYPE_CHECKING:
    from officeops.backups.catalogue import Entry
    from officeops.probes.rules import Judged
    from officeops.site import Site
    from officeops.stack.port import ServiceStatus

_SEEN = ("healthy", "release", "backup_age")


@dataclass(frozen=True)
class Standing:
    """name: of the alert. text: for people. phase: seen (just now), firing or acknowledged."""

    name: str
    text: str
    severity: str
    phase: str


def standing(site: Site, services: Sequence[ServiceStatus], backups: list[Entry]) -> list[Standing]:
    """services: asked just now. backups: of the database, newest first. No probe is run."""
    now, runbook = site.clock(), site.config.runbook
    deployed = site.stack.deployed()
    asked = [reading for one in services for reading in readings(one, deployed, (), now)]
    asked += safety.readings(backups, runbook.backups.max_age_hours, now)
    judged = [one for one in judge(asked, runbook.alerts.rules) if one.reading.measure in _SEEN]
    known = {one.name: one for one in site.ledger.alerts() if one.is_known}
    seen = [_seen(one, known[one.reading.name].phase if one.reading.name in known else "seen") for one in judged if not one.ok]
    names = {one.reading.name for one in judged}
    return seen + [Standing(one.name, one.text, one.severity, one.phase) for one in known.values() if one.name not in names]


def _seen(one: Judged, phase: str) -> Standing:
    plain = one.rule.unit == "yes" or one.reading.value is None
    return Standing(one.reading.name, one.reading.detail if plain and one.reading.detail else sentence(one), one.rule.severity, phase)
