"""Errors in the services' logs since the last look, grouped into templates; templates that were never seen before are named."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from officeops.clock import iso, parse_iso
from officeops.errors import OfficeOpsError
from officeops.probes.reading import Reading

if TYPE_CHECKING:
    from drain3 import TemplateMiner

    from officeops.site import Site
    from officeops.stack.port import LogLine

_ERROR = re.compile(r'\b(ERROR|CRITICAL|FATAL|PANIC|Traceback)\b|"level": ?"(?:error|fatal|panic)"|\b\w*(?:Error|Exception):')
_STAMP = re.compile(r'^\W*\d{4}-\d\d-\d\d[T ][\d:.,]+(?:Z|[+-]\d\d:?\d\d)?(?: (?:UTC|GMT|[A-Z]{2,3}T)\b)?\s*|"ts":[\d.]+,?')
_FIRST_LOOK = timedelta(minutes=5)
_SHOWN, _LONG, _LINES = 3, 160, 5000
_CLUSTERS = 500  # the least recently seen template goes: memory stays flat


@dataclass(frozen=True)
class Errors:
    """What a service's log has. templates: with how often, most frequent first. new: templates seen for the first time."""

    service: str
    count: int
    templates: tuple[tuple[str, int], ...]
    new: tuple[str, ...]


class Look:
    """What was seen before: until when each service's log was read, and the templates. keep: whether the next look goes on from here."""

    def __init__(self, folder: Path, *, keep: bool) -> None:
        self._folder, self._keep = folder, keep
        self._cursors = folder / "looked.json"
        self._miners: dict[str, TemplateMiner] = {}

    def ask(self, site: Site) -> Iterator[Reading]:
        """Every service."""
        found = list(self.look(site))
        for one in found:
            said = "; ".join(f"{count}× {template}" for template, count in one.templates[:_SHOWN])
            yield Reading(f"{one.service}.errors", "log_errors", one.count, said)
            yield Reading(f"{one.service}.new_errors", "count", len(one.new), "new: " + "; ".join(one.new[:_SHOWN]) if one.new else "")

    def look(self, site: Site) -> list[Errors]:
        """What every service printed since the last look."""
        services, now, since = list(site.config.runbook.services), site.clock(), self._since()
        with ThreadPoolExecutor(len(services)) as pool:
            lines = list(pool.map(lambda name: _errors(site, name, since.get(name, now - _FIRST_LOOK), now), services))
        found = [self.group(name, texts) for name, texts in zip(services, lines, strict=True) if texts is not None]
        if self._keep:
            self._save({**since, **{one.service: now for one in found}})
        return found

    def group(self, service: str, lines: Iterable[str]) -> Errors:
        """The lines by their templates."""
        counts, new = Counter[str](), []
        for line in lines:
            known = self._miner(service).add_log_message(line)
            template = str(known["template_mined"])
            counts[template] += 1
            if known["change_type"] == "cluster_created":
                new.append(template)
        return Errors(service, counts.total(), tuple(counts.most_common()), tuple(new))

    def _miner(self, service: str) -> TemplateMiner:
        if service not in self._miners:
            self._miners[service] = miner(self._folder / f"templates-{service}" if self._keep or self._cursors.exists() else None)
            if not self._keep:
                self._miners[service].persistence_handler = None  # read, never written
        return self._miners[service]

    def _since(self) -> dict[str, datetime]:
        if not self._keep:
            return {}
        try:
            return {name: parse_iso(at) for name, at in json.loads(self._cursors.read_text()).items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def _save(self, cursors: dict[str, datetime]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._cursors.with_suffix(".new")
        temporary.write_text(json.dumps({name: iso(at) for name, at in cursors.items()}))
        os.replace(temporary, self._cursors)


def miner(file: Path | None) -> TemplateMiner:
    """Groups lines into templates. file: where it remembers them, if it should."""
    from drain3 import TemplateMiner
    from drain3.file_persistence import FilePersistence
    from drain3.masking import MaskingInstruction
    from drain3.template_miner_config import TemplateMinerConfig

    config = TemplateMinerConfig()
    config.drain_max_clusters = _CLUSTERS
    config.masking_instructions = [
        MaskingInstruction(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\b0x[0-9a-fA-F]+\b|\b[0-9a-f]{12,}\b", "ID"),
        MaskingInstruction(r"\b\d+(?:\.\d+)*\b", "N"),
    ]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    return TemplateMiner(FilePersistence(str(file)) if file is not None else None, config)


def unstamped(text: str) -> str:
    """A line without the time that it begins with, cut to what tells it from others."""
    return _STAMP.sub("", text)[:_LONG]


def is_error(text: str) -> bool:
    """Whether a line tells of an error."""
    return _ERROR.search(text) is not None


def _errors(site: Site, service: str, since: datetime, until: datetime) -> list[str] | None:
    """None when the log cannot be read: then the next look begins where this one did."""
    try:
        return _texts(site.stack.logs(service, since=since, until=until))
    except OfficeOpsError:
        return None


def _texts(lines: Iterable[LogLine]) -> list[str]:
    found: list[str] = []
    for line in lines:
        if is_error(line.text):
            found.append(unstamped(line.text))
            if len(found) >= _LINES:
                break
    return found
