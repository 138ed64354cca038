"""One round: everything asked at once, judged, and kept for trends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from officeops.clock import iso
from officeops.ledger.watching import Sample
from officeops.probes import services as stack_probes
from officeops.probes.asking import Asker
from officeops.probes.database import ask_database
from officeops.probes.figures import ask_figures
from officeops.probes.host import ask_host
from officeops.probes.logs import Look
from officeops.probes.plane import ask_prefect, is_here
from officeops.probes.reading import Probe, Reading
from officeops.probes.rules import Judged, judge
from officeops.probes.safety import ask_backups
from officeops.probes.web import ask_certificate, ask_page, ask_web, door

if TYPE_CHECKING:
    from officeops.releases.watch import Figures
    from officeops.site import Site

_OF_ALL = ("services", "figures", "usage", "migration")  # probes that ask about several subjects at once
RECENT = timedelta(minutes=65)


@dataclass(frozen=True)
class Round:
    """What one round found. history: earlier ones, oldest first. seconds: how long it took."""

    at: datetime
    judged: tuple[Judged, ...]
    history: tuple[Sample, ...]
    counters: dict[str, Figures]

    @property
    def wrong(self) -> list[Judged]:
        """What is not as the runbook wants it."""
        return [one for one in self.judged if not one.ok]

    @property
    def sample(self) -> Sample:
        """What is kept of it."""
        values = {one.reading.name: one.reading.value for one in self.judged if one.reading.measure != "asked"}
        measures = {one.reading.name: one.reading.measure for one in self.judged if one.reading.name in values}
        return Sample(iso(self.at), values, tuple(one.reading.name for one in self.wrong), self.counters, measures)


def ask(site: Site, asker: Asker, look: Look) -> Round:
    """One round now."""
    now = site.clock()
    history = site.ledger.samples(since=now - RECENT, day_before=now - timedelta(days=1))
    counters: dict[str, Figures] = {}
    readings = asker.ask(probes(site, history, counters, look))
    return Round(now, tuple(judge(readings, site.config.runbook.alerts.rules)), tuple(history), counters)


def ask_about(site: Site, subject: str) -> list[Judged]:
    """What is asked about one subject only, to see whether it is well again. Logs and what needs earlier rounds are left out."""
    wanted = [one for one in probes(site, (), {}, None) if one.name.partition(".")[0] in (subject, *_OF_ALL)]
    readings = Asker().ask(wanted)
    return judge([one for one in readings if one.subject == subject], site.config.runbook.alerts.rules)


def probes(site: Site, history: Sequence[Sample], counters: dict[str, Figures], look: Look | None) -> list[Probe]:
    """Everything that the runbook has asked. look: of the logs; None: not."""
    runbook = site.config.runbook
    wanted, late = runbook.probes, runbook.probes.timeout_seconds

    def one(name: str, ask: Callable[[], Iterable[Reading]], timeout: float = late) -> Probe:
        return Probe(name, timeout, ask)

    found = [one("services", partial(stack_probes.ask_services, site, history))]
    for name, web in wanted.web.items():
        found.append(one(f"{web.service}.{name}.asked", partial(ask_web, site, name, web), web.timeout + 1))
    for name, page in wanted.pages.items():
        found.append(one(f"{page.service}.{name}.asked", partial(ask_page, site, name, page), late + 1))
    for name, service in runbook.services.items():
        if service.kind in _SERVERS:
            found.append(one(f"{name}.asked", partial(_SERVERS[service.kind], site, name)))
    found += [
        one(f"{runbook.database.service}.inside", partial(ask_database, site, history)),
        one("migration", partial(stack_probes.ask_migration, site)),
        one("figures", partial(ask_figures, site, history, counters)),
        one("host.asked", partial(ask_host, site)),
        one("usage", partial(stack_probes.ask_usage, site)),
        one("backups.asked", partial(ask_backups, site)),
    ]
    if _has_tls(site):
        found.append(one("certificate", partial(ask_certificate, site, site.clock())))
    if wanted.prefect and is_here(site):
        found.append(one("prefect.asked", partial(ask_prefect, site)))
    if wanted.logs and look is not None:
        found.append(one("logs", partial(look.ask, site)))
    return found


_SERVERS: dict[str, Callable[[Site, str], Iterable[Reading]]] = {"redis": stack_probes.ask_redis, "ollama": stack_probes.ask_ollama}


def _has_tls(site: Site) -> bool:
    try:
        return door(site).tls
    except Exception:  # noqa: BLE001 - a front door that cannot be found is said by the probes that ask it
        return False
