"""Lines that were exported and lines that still are in the services' own logs, as one: a log's cursor says where the one ends and the other
begins, so that each line comes once."""

from __future__ import annotations

import heapq
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import IO, TYPE_CHECKING

from officeops.archive.targets import opened
from officeops.errors import OfficeOpsError, UsageError
from officeops.logs.collecting import waiting_file
from officeops.logs.lines import decoded, moment
from officeops.logs.storing import key_of
from officeops.stack.port import LogLine, LogSource
from officeops.streams import decompress, read_chunks

if TYPE_CHECKING:
    from officeops.ledger.logs import LogPart
    from officeops.site import Site

_RECENT = timedelta(days=1)  # looked through first, when the last lines are wanted


@dataclass
class _Log:
    """One log: its exported parts, in order, and the live rest, from the cursor on."""

    parts: list[LogPart] = field(default_factory=list)
    source: LogSource | None = None
    cursor: str | None = None


@dataclass
class Reader:
    """Lines of these services. since: from then on. grep: a regular expression that they match, whatever its case. warn: is told what cannot be
    read; the rest is. Raises UsageError for a service that there is not, or an expression that is none."""

    site: Site
    services: Sequence[str] = ()
    since: datetime | None = None
    grep: str | None = None
    warn: Callable[[str], None] = lambda _text: None
    _logs: dict[str, _Log] = field(default_factory=dict)
    _warned: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        known = self.site.config.runbook.services
        for service in self.services:
            if service not in known:
                raise UsageError(f"There is no service {service!r}.", todo=f"The runbook has {', '.join(known)}.")
        try:
            self._matches = re.compile(self.grep, re.IGNORECASE).search if self.grep else None
        except re.error as error:
            raise UsageError(f"{self.grep!r} is no regular expression: {error}.") from error

    def lines(self) -> Iterator[LogLine]:
        """Oldest first, up to now."""
        self._look(self.since)
        return heapq.merge(*(self._of(log) for log in self._logs.values()), key=attrgetter("at"))

    def last(self, count: int) -> list[LogLine]:
        """The last ones, oldest first."""
        if self.since is None:
            self._look(self.site.clock() - _RECENT)
            recent = self._last(count)
            if len(recent) >= count or len(self.site.ledger.log_parts()) == sum(len(log.parts) for log in self._logs.values()):
                return recent
        self._look(self.since)
        return self._last(count)

    def follow(self, wait: Callable[[], object]) -> Iterator[LogLine]:
        """What comes from where the reading ended, for ever. wait: passes the time between two looks."""
        while True:
            wait()
            there = {source.id: source for source in self._sources()}
            for name in {*there, *self._logs}:
                self._logs.setdefault(name, _Log()).source = there.get(name)
            new = [list(self._live(log)) for log in self._logs.values() if log.source]
            yield from heapq.merge(*new, key=attrgetter("at"))

    def _look(self, since: datetime | None) -> None:
        """Which logs there are. Cursors first: parts that come after them are left out, what they hold is read live."""
        cursors, self._logs = self.site.ledger.log_cursors(), {}
        sources = self._sources()
        for part in self.site.ledger.log_parts(since=since):
            if self._wanted(part.service) and part.sequence <= cursors[part.source].sequence:
                self._logs.setdefault(part.source, _Log()).parts.append(part)
        for source in sources:
            log = self._logs.setdefault(source.id, _Log())
            log.source, log.cursor = source, cursors[source.id].cursor if source.id in cursors else None

    def _sources(self) -> list[LogSource]:
        try:
            return [one for one in self.site.stack.log_sources() if self._wanted(one.service)]
        except OfficeOpsError as error:
            self._warn(f"Only exported lines are shown: {error}")
            return []

    def _wanted(self, service: str) -> bool:
        return not self.services or service in self.services

    def _of(self, log: _Log) -> Iterator[LogLine]:
        for part in log.parts:
            yield from self._exported(part)
        yield from self._live(log)

    def _last(self, count: int) -> list[LogLine]:
        """Of each log from its end backwards, no further than needed."""
        found: list[LogLine] = []
        for log in self._logs.values():
            mine = deque(self._live(log), count)
            for part in reversed(log.parts):
                if len(mine) >= count:
                    break
                mine.extendleft(reversed(deque(self._exported(part), count - len(mine))))
            found += mine
        return sorted(found, key=attrgetter("at"))[max(0, len(found) - count) :] if count else []

    def _exported(self, part: LogPart) -> Iterator[LogLine]:
        try:
            with _opened(self.site, part) as file:
                yield from filter(self._is_asked_for, decoded(part.service, decompress(read_chunks(file))))
        except OfficeOpsError as error:
            self._warn(f"{part.lines} lines of {part.service} from {part.first_at} on are not shown: {error}")

    def _live(self, log: _Log) -> Iterator[LogLine]:
        if log.source is None:
            return
        try:
            for block in self.site.stack.read_log(log.source, log.cursor):
                texts = block.text.decode(errors="replace").split("\n")
                found = (LogLine(log.source.service, moment(at.decode()), text) for at, text in zip(block.times, texts, strict=True))
                yield from filter(self._is_asked_for, found)
                log.cursor = block.cursor
        except OfficeOpsError as error:
            self._warn(f"The log of {log.source.service} cannot be read: {error}")

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self.warn(text)

    def _is_asked_for(self, line: LogLine) -> bool:
        return (self.since is None or line.at >= self.since) and (self._matches is None or self._matches(line.text) is not None)


@contextmanager
def _opened(site: Site, part: LogPart) -> Iterator[IO[bytes]]:
    """From the file that waits, or the first target that has it: it may be stored while we look."""
    try:
        file = waiting_file(site, part).open("rb")
    except FileNotFoundError:
        pass
    else:
        with file:
            yield file
        return
    failures = []
    with ExitStack() as stack:
        for name in dict.fromkeys([*part.targets, *site.targets]):
            try:
                found = stack.enter_context(opened(site, name).open(key_of(site, part)))
                break
            except OfficeOpsError as error:
                failures.append(str(error))
        else:
            raise OfficeOpsError("; ".join(failures))
        yield found
