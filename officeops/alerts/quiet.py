"""When an alert is none, or nobody is told: silences, maintenance windows, and what an operation is doing at the moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from officeops.clock import parse_iso
from officeops.lock import Holder
from officeops.runbook import Runbook
from officeops.runbook.watching import Maintenance

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# By the first words of what a lock's holder says that it does. rolled: the services of a release; all: whatever runs.
_TOUCHED = {
    "deploy": "rolled", "rollback": "rolled", "emergency": "rolled", "reconcile": "rolled", "up": "all", "down": "all",
    "restore": "all", "restore drill": "none", "undo of a restore": "all", "backup of volumes": "quiet", "demo": "all",
}  # fmt: skip


@dataclass(frozen=True)
class Silence:
    """Nobody is told of what matches `pattern` until then. Times are ISO 8601 in UTC."""

    id: str
    pattern: str
    until: str
    who: str
    why: str
    created_at: str

    def covers(self, name: str, now: datetime) -> bool:
        """Whether it holds now for this alert."""
        return now < parse_iso(self.until) and fnmatchcase(name, self.pattern)


def is_muted(name: str, now: datetime, silences: Sequence[Silence], windows: Sequence[Maintenance], zone: ZoneInfo) -> bool:
    """Whether nobody is told of it now."""
    if any(one.covers(name, now) for one in silences):
        return True
    return any(any(fnmatchcase(name, pattern) for pattern in one.alerts) and in_window(one, now, zone) for one in windows)


def in_window(window: Maintenance, now: datetime, zone: ZoneInfo) -> bool:
    """Whether the moment lies in it. Its day is the one on which it begins."""
    local = now.astimezone(zone)
    start, end, at = time.fromisoformat(window.start), time.fromisoformat(window.end), local.time()
    if start <= end:
        inside, day = start <= at < end, local
    else:
        inside, day = at >= start or at < end, local if at >= start else local - timedelta(days=1)
    return inside and (not window.days or _DAYS[day.weekday()] in window.days)


def is_expected(name: str, holder: Holder | None, runbook: Runbook, now: datetime) -> bool:
    """Whether whoever holds the lock is working on the service that this is about: then it is no alert. Not for ever: an operation that
    hangs is no excuse."""
    if holder is None or now - parse_iso(holder.since) > timedelta(minutes=runbook.alerts.deploy_quiet_minutes):
        return False
    subject = name.partition(".")[0]
    if holder.doing.startswith("heal "):
        return subject == holder.doing.split()[1]
    touched = next((what for word, what in sorted(_TOUCHED.items(), reverse=True) if holder.doing.startswith(word)), None)
    services = _services(touched, runbook)
    return subject in services or (
        _is_asked_through_an_app(name, runbook) and any(runbook.services[one].kind == "app" for one in services & runbook.services.keys())
    )


def _is_asked_through_an_app(name: str, runbook: Runbook) -> bool:
    """Whether it is something at the front door that is about a service behind an application."""
    probe = runbook.probes.web.get(name.partition(".")[2].removesuffix("_seconds"))
    return probe is not None and runbook.services[probe.service].kind != "app"


def _services(touched: str | None, runbook: Runbook) -> set[str]:
    door = {name for name, service in runbook.services.items() if service.kind == "caddy"}
    match touched:
        case "all":
            return {*runbook.services, "services", "figures", "usage"}
        case "rolled":
            return {*runbook.rolled(), *door}
        case "quiet":
            return {service for volume in runbook.volumes.values() if volume.quiet for service in volume.services}
        case _:
            return set()
