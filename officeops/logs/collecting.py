"""Everything new of every log, into files of our own: a line that was collected is safe, whatever becomes of its container or the store.

A log's cursor moves in the transaction that enters the file with its lines. Killed before: the file belongs to nothing and is thrown away,
and the lines come again. Killed after: they do not. See docs/decisions/0061-logs-are-collected-then-stored.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import zstandard

from officeops import files
from officeops.clock import iso
from officeops.errors import DiskFullError, OfficeOpsError
from officeops.ledger.logs import LogCursor, LogGap, LogPart
from officeops.lock import stack_lock
from officeops.logs.lines import encoded
from officeops.streams import Tally

if TYPE_CHECKING:
    from officeops.site import Site
    from officeops.stack.port import LogBlock, LogSource

_LEVEL = 1
_OPEN = 16  # days of one log that are written at a time: a service may print lines of any time
_WAIT_S = 60.0
_MOST_BYTES = 2 << 30  # what waits for a store that is away
_SUFFIX = ".jsonl.zst"


@dataclass(frozen=True)
class Collected:
    """What a collecting found. troubles: logs that could not be read, by service; they are read next time."""

    parts: list[LogPart]
    gaps: list[LogGap]
    troubles: dict[str, str]


def waiting_folder(site: Site) -> Path:
    """Where files are that are not stored everywhere yet."""
    return site.home / "logs"


def waiting_file(site: Site, part: LogPart) -> Path:
    """A part's own."""
    return waiting_folder(site) / (part.id.rpartition("/")[2] + _SUFFIX)


@contextmanager
def alone(site: Site, what: str) -> Iterator[None]:
    """One at a time does that with logs, beside whatever changes the stack. Raises LockedError when another one takes longer than a minute."""
    with stack_lock(site.home, f"{site.name}-logs-{what}", f"{what} of logs", wait_s=_WAIT_S, clock=site.clock):
        yield


def collect(site: Site) -> Collected:
    """What every log has since it was read last. Raises OfficeOpsError when the stack cannot be asked, or too much waits for a store already,
    LockedError when another one collects for more than a minute."""
    with alone(site, "collecting"):
        return _collect_all(site)


def _collect_all(site: Site) -> Collected:
    _sweep(site)
    known, found = site.ledger.log_cursors(), Collected([], [], {})
    sources = site.stack.log_sources()
    for source in sources:
        cursor = known.get(source.id) or LogCursor(source.id, source.service, 0, None, None, ended=False)
        try:
            _collect(site, source, cursor, found)
        except DiskFullError:
            raise
        except OfficeOpsError as error:
            found.troubles[source.service] = str(error)
    for cursor in known.values():
        if not cursor.ended and cursor.source not in {source.id for source in sources}:
            _note_gone(site, cursor, found)
    return found


def keep_last_words(site: Site) -> None:
    """What is about to be removed has printed its last. A log that cannot be read is no reason to let a release hang: the next collecting
    notes the gap."""
    with suppress(OfficeOpsError, OSError):
        collect(site)


def _collect(site: Site, source: LogSource, cursor: LogCursor, found: Collected) -> None:
    batch = _Batch(site, source, cursor.sequence + 1)
    gap, last = None, None
    try:
        for block in site.stack.read_log(source, cursor.cursor):
            if block.gap:
                why = "the log was rotated more often than it was read"
                first = block.times[0].decode()
                gap = LogGap(source.id, cursor.sequence, source.service, iso(site.clock()), cursor.last_at, first, why)
            batch.add(block)
            last = block
        parts = batch.finish()
    except OSError as error:
        raise DiskFullError(
            f"Logs cannot be collected in {waiting_folder(site)}: {error.strerror}.", state="No line is lost yet."
        ) from error
    finally:
        batch.close()
    if last is not None:
        now = LogCursor(source.id, source.service, cursor.sequence + 1, last.cursor, last.times[-1].decode(), not source.running)
        site.ledger.record_collected(now, parts, gap)
    elif cursor.ended == source.running:
        site.ledger.record_collected(LogCursor(**{**vars(cursor), "ended": not source.running}))
    found.parts.extend(parts)
    found.gaps.extend([gap] if gap else [])


def _note_gone(site: Site, cursor: LogCursor, found: Collected) -> None:
    why = "it was removed while it ran; what it printed last may be missing"
    gap = LogGap(cursor.source, cursor.sequence, cursor.service, iso(site.clock()), cursor.last_at, None, why)
    site.ledger.record_collected(LogCursor(**{**vars(cursor), "ended": True}), gap=gap)
    found.gaps.append(gap)


def _sweep(site: Site) -> None:
    """Files that a killed collecting left. Raises DiskFullError when too much waits already."""
    folder, size = waiting_folder(site), 0
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    known = {waiting_file(site, part).name for part in site.ledger.log_parts(waiting=True)}
    for path in folder.glob(f"*{_SUFFIX}"):
        if path.name in known:
            size += path.stat().st_size
        else:
            path.unlink()
    if size > _MOST_BYTES:
        raise DiskFullError(
            f"{size / 1e9:.1f} GB of logs wait in {folder} to be stored; no more are collected.",
            state="Services go on with their own logs, which are rotated.",
            todo="See to the targets of `logs` in runbook.yaml; `officeops log-export` says what is wrong.",
        )


class _Batch:
    """The new lines of one log, a file for each day."""

    def __init__(self, site: Site, source: LogSource, sequence: int) -> None:
        self._site, self._source, self._sequence = site, source, sequence
        self._at = f"{site.clock():%Y%m%dT%H%M%S}"
        self._open: dict[str, _File] = {}
        self._parts: list[LogPart] = []

    def add(self, block: LogBlock) -> None:
        """Lines of one day mostly."""
        first, last = min(block.times), max(block.times)
        if first[:10] == last[:10]:
            self._file(first[:10].decode()).write(block.times, block.text, first, last)
            return
        lines = list(zip(block.times, block.text.split(b"\n"), strict=True))
        for day in {at[:10] for at in block.times}:
            mine = [line for line in lines if line[0][:10] == day]
            times = [at for at, _ in mine]
            self._file(day.decode()).write(times, b"\n".join([text for _, text in mine]), min(times), max(times))

    def finish(self) -> list[LogPart]:
        """The parts, whose files are on the disk."""
        for day in list(self._open):
            self._end(day)
        if self._parts:
            files.flush_folder(waiting_folder(self._site))
        return self._parts

    def close(self) -> None:
        """Whatever happened."""
        for file in self._open.values():
            file.close()

    def _file(self, day: str) -> _File:
        if day not in self._open:
            if len(self._open) >= _OPEN:
                self._end(next(iter(self._open)))
            name = f"{self._at}-{self._source.id[:64]}-{self._sequence}-{len(self._parts) + len(self._open)}"
            self._open[day] = _File(waiting_folder(self._site) / f"{name}{_SUFFIX}", f"{self._source.service}/{day}/{name}")
        return self._open[day]

    def _end(self, day: str) -> None:
        file = self._open.pop(day)
        self._parts.append(LogPart(source=self._source.id, sequence=self._sequence, service=self._source.service, day=day, **file.finish()))


class _File:
    """One that is written."""

    def __init__(self, path: Path, identifier: str) -> None:
        self._id, self._lines, self._plain, self._tally = identifier, 0, 0, Tally()
        self._first, self._last = b"~", b""
        self._file: IO[bytes] = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()

    def write(self, times: list[bytes], text: bytes, first: bytes, last: bytes) -> None:
        self._first, self._last = min(self._first, first), max(self._last, last)
        self._lines += len(times)
        self._plain += len(text) + 1
        self._put(self._compressor.compress(encoded(times, text)))

    def finish(self) -> dict[str, Any]:
        """What the ledger is to know of it."""
        self._put(self._compressor.flush())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return {
            "id": self._id, "lines": self._lines, "plain_bytes": self._plain, "bytes": self._tally.bytes, "sha256": self._tally.sha256,
            "first_at": self._first.decode(), "last_at": self._last.decode(),
        }  # fmt: skip

    def close(self) -> None:
        self._file.close()

    def _put(self, chunk: bytes) -> None:
        for piece in self._tally.through([chunk]):
            self._file.write(piece)
