"""The logs that supervisor keeps of a program, read as one."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import IO, BinaryIO

from officeops.stack.port import LogLine

_NEAR = 1 << 16  # bytes that are read rather than searched
_STAMPLESS = 200  # lines in a row that may say no time, as a traceback's
_STAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,6})?")
_SECONDS = re.compile(r'"ts":(\d{9,10}(?:\.\d+)?)\b')


def lines(service: str, newest: Path, since: datetime | None = None) -> Iterator[LogLine]:
    """Of the current file and the rotated ones beside it, oldest first. since: what is older may be left out, and is where that saves
    reading it."""
    return chain.from_iterable(_lines(service, file) for file in _files(newest, since))


def opened(newest: Path) -> list[BinaryIO]:
    """The files, oldest first. Opened newest first: one that is rotated meanwhile shows up twice, and is never missed."""
    found: dict[int, BinaryIO] = {}
    for path in [newest, *sorted(newest.parent.glob(f"{newest.name}.*"), key=lambda path: int(path.suffix[1:]))]:
        with suppress(FileNotFoundError):
            file = path.open("rb")
            if found.setdefault(os.fstat(file.fileno()).st_ino, file) is not file:
                file.close()
    return list(reversed(found.values()))


def _files(newest: Path, since: datetime | None) -> Iterator[IO[str]]:
    """Open at their beginning, or a little before `since`."""
    for file in opened(newest):
        found = os.fstat(file.fileno())
        if since is not None and found.st_mtime < since.timestamp():
            file.close()
            continue
        file.seek(_begin(file, found.st_size, since) if since else 0)
        yield io.TextIOWrapper(file, encoding="utf-8", errors="replace")


def _begin(file: IO[bytes], size: int, since: datetime) -> int:
    """A place in the file before everything since then, found by halving; where lines say no time, its begin."""
    before, behind = 0, size
    while behind - before > _NEAR:
        middle = (before + behind) // 2
        file.seek(middle)
        file.readline()  # the rest of a line
        at = next((at for line in islice(file, _STAMPLESS) if (at := stamp(line.decode(errors="replace")))), None)
        if at is None or at >= since:
            behind = middle
        else:
            before = middle
    file.seek(before)
    if before:
        file.readline()
    return file.tell()


def _lines(service: str, file: IO[str]) -> Iterator[LogLine]:
    """A line's time is the one it begins with; a line without has that of the line before it, or else of the next one that has one,
    or else of the file's last change."""
    waiting: list[str] = []
    at: datetime | None = None
    with file:
        for line in file:
            at = stamp(line) or at
            waiting.append(line.rstrip("\n"))
            if at is not None:
                yield from (LogLine(service, at, text) for text in waiting)
                waiting.clear()
        changed = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
    yield from (LogLine(service, changed, text) for text in waiting)


def stamp(line: str) -> datetime | None:
    """The time in UTC that a line begins with: written out, or in seconds, as Caddy does."""
    if found := _STAMP.search(line[:40]):
        with suppress(ValueError):
            return datetime.fromisoformat(found[0].replace(",", ".")).replace(tzinfo=UTC)
    if found := _SECONDS.search(line[:80]):
        return datetime.fromtimestamp(float(found[1]), UTC)
    return None
