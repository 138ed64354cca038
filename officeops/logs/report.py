"""A week of logs, summed up: errors and warnings by service and template, what is new, which requests were slowest."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from officeops import files
from officeops.clock import iso
from officeops.errors import OfficeOpsError
from officeops.logs.reading import Reader
from officeops.probes.logs import is_error, miner, unstamped

if TYPE_CHECKING:
    from drain3 import TemplateMiner

    from officeops.site import Site
    from officeops.stack.port import LogLine

_WARNING = re.compile(r'\b(WARN|WARNING)\b|"level": ?"warn(?:ing)?"')
# `"GET /path" 200 12.3 ms` in an access line, with or without a protocol; or Caddy's, which is JSON.
_REQUEST = re.compile(r'"([A-Z]+) (\S+?)(?: HTTP/[\d.]+)?" (\d{3}) (\d+(?:\.\d+)?) ?(ms|s)\b')
_JSON_REQUEST = re.compile(r'"method":"([A-Z]+)".*?"uri":"([^"]+)".*?"duration":([\d.e-]+)')
_NUMBER = re.compile(r"(?<=/)(?:\d+|[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{12,})(?=/|$)")
_TEMPLATES, _ENDPOINTS, _ROUTES = 20, 15, 2000
_FOLDER = "log-report"


@dataclass
class Template:
    """A kind of line. new: it was not seen before the report's time. Times are ISO 8601 in UTC."""

    text: str
    level: str
    count: int
    first_at: str
    last_at: str
    new: bool


@dataclass
class ServiceLog:
    """What a service printed. templates: of errors and warnings, the most frequent first."""

    service: str
    lines: int = 0
    errors: int = 0
    warnings: int = 0
    templates: list[Template] = field(default_factory=list)


@dataclass
class Endpoint:
    """What was asked for, numbers in its path left out. Seconds."""

    service: str
    what: str
    count: int
    mean_s: float
    slowest_s: float


@dataclass
class LogReport:
    """since, until: ISO 8601 in UTC. gaps: lines that may be missing, for people. troubles: what could not be read."""

    since: str
    until: str
    services: list[ServiceLog]
    slowest: list[Endpoint]
    gaps: list[str]
    troubles: list[str]

    def as_object(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def report(site: Site, *, days: float = 7, remember: bool = False) -> LogReport:
    """Over exported and live lines alike. remember: what was seen is known from now on, and not new in the next report; a report that is made
    again for the same time says the same."""
    until, troubles = site.clock(), list[str]()
    since = until - timedelta(days=days)
    found = {name: _Sum(site, name, since) for name in site.config.runbook.services}
    routes: dict[tuple[str, str], list[float]] = {}
    for line in Reader(site, since=since, warn=troubles.append).lines():
        if line.service not in found:  # the runbook had it once
            found[line.service] = _Sum(site, line.service, since)
        found[line.service].add(line)
        _add_request(routes, line)
    result = LogReport(iso(since), iso(until), [one.summed() for one in found.values()], _slowest(routes), _gaps(site, since), troubles)
    if remember:
        for one in found.values():
            one.save()
        files.replace(site.home / _FOLDER / "last.json", json.dumps(result.as_object(), ensure_ascii=False).encode(), mode=0o600)
    return result


def last_report(site: Site) -> LogReport | None:
    """The last one that was remembered."""
    try:
        raw = json.loads((site.home / _FOLDER / "last.json").read_text(encoding="utf-8"))
        services = [ServiceLog(**{**one, "templates": [Template(**each) for each in one["templates"]]}) for one in raw.pop("services")]
        return LogReport(services=services, slowest=[Endpoint(**one) for one in raw.pop("slowest")], **raw)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OfficeOpsError(f"The last report of logs cannot be read: {error}.", todo="Make a new one: `officeops log-report`.") from error


class _Sum:
    """Of one service. The miner's templates keep their numbers from week to week: `seen` has when each was seen first."""

    def __init__(self, site: Site, service: str, since: datetime) -> None:
        self._file, self._since = site.home / _FOLDER / f"{service}.templates", iso(since)
        self._log = ServiceLog(service)
        self._miner: TemplateMiner | None = None
        self._now: dict[int, Template] = {}
        self._seen: dict[str, str] = json.loads(self._notes.read_text()) if self._notes.exists() else {}

    @property
    def _notes(self) -> Path:
        return self._file.with_suffix(".json")

    def add(self, line: LogLine) -> None:
        """One line."""
        log, text = self._log, line.text
        log.lines += 1
        level = "error" if is_error(text) else "warning" if _WARNING.search(text) else ""
        if not level:
            return
        log.errors += level == "error"
        log.warnings += level == "warning"
        if self._miner is None:
            self._miner = miner(self._file if self._file.exists() else None)
            self._miner.persistence_handler = None  # written when the whole report is
        mined, at = self._miner.add_log_message(unstamped(text)), iso(line.at)
        number = int(mined["cluster_id"])
        known = self._now.setdefault(number, Template("", level, 0, at, at, new=False))
        known.text, known.count = str(mined["template_mined"]), known.count + 1
        known.first_at, known.last_at = min(known.first_at, at), max(known.last_at, at)

    def summed(self) -> ServiceLog:
        """All of it."""
        for number, template in self._now.items():
            template.new = self._seen.get(str(number), "~") >= self._since
        ranked = sorted(self._now.values(), key=lambda one: (not one.new, one.level != "error", -one.count))
        self._log.templates = ranked[:_TEMPLATES]
        return self._log

    def save(self) -> None:
        """The templates, and when each was seen first. The notes go last: killed in between, a template is told as new once more."""
        if self._miner is None:
            return
        from drain3.file_persistence import FilePersistence

        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        whole = self._file.with_suffix(".new")
        self._miner.persistence_handler = FilePersistence(str(whole))
        self._miner.save_state("report")
        whole.replace(self._file)
        for number, template in self._now.items():
            self._seen[str(number)] = min(self._seen.get(str(number), "~"), template.first_at)
        files.replace(self._notes, json.dumps(self._seen).encode(), mode=0o600)


def _add_request(routes: dict[tuple[str, str], list[float]], line: LogLine) -> None:
    """routes: number of requests, sum and most of their seconds."""
    if found := _REQUEST.search(line.text):
        method, path, seconds = found[1], found[2], float(found[4]) / (1000 if found[5] == "ms" else 1)
    elif '"duration":' in line.text and (found := _JSON_REQUEST.search(line.text)):
        method, path, seconds = found[1], found[2], float(found[3])
    else:
        return
    place = line.service, f"{method} {_NUMBER.sub('N', path.partition('?')[0])}"
    if place in routes or len(routes) < _ROUTES:  # anybody may make up paths
        known = routes.setdefault(place, [0, 0.0, 0.0])
        known[0] += 1
        known[1] += seconds
        known[2] = max(known[2], seconds)


def _slowest(routes: dict[tuple[str, str], list[float]]) -> list[Endpoint]:
    found = [
        Endpoint(service, what, int(count), round(total / count, 4), round(most, 4))
        for (service, what), (count, total, most) in routes.items()
    ]
    return sorted(found, key=lambda one: -one.mean_s)[:_ENDPOINTS]


def _gaps(site: Site, since: datetime) -> list[str]:
    return [
        f"{gap.service}, between {gap.after or 'the beginning'} and {gap.before or 'its end'}: {gap.why}"
        for gap in site.ledger.log_gaps(since=since)
    ]
