"""What containers printed, line by line, with the time that the engine gave each line."""

from __future__ import annotations

import heapq
import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from operator import attrgetter
from typing import Any

from officeops.stack.compose import containers
from officeops.stack.compose.engine import Engine
from officeops.stack.port import LogBlock, LogLine, LogSource

_BLOCK, _BLOCK_LINES = 1 << 20, 16_384
_DISORDER_S = 10  # lines of stdout and stderr are written in another order than that of their times, for as long as a busy disk takes
_LATE_S = 1.0  # the engine stops at the first line after that time, and those of two streams are not strictly in order


def merged(
    engine: Engine, service: str, ids: Sequence[str], *, since: datetime | None, until: datetime | None, tail: int | None
) -> Iterator[LogLine]:
    """Of all these containers of a service, oldest first. tail: the last ones only."""
    # The engine counts a tail before it looks at the time.
    each = tail if until is None else None
    found: Iterator[LogLine] = heapq.merge(
        *(lines(engine, service, one, since=since, until=until, tail=each) for one in ids), key=attrgetter("at")
    )
    return found if tail is None or (each is not None and len(ids) < 2) else iter(deque(found, tail))


def lines(
    engine: Engine, service: str, container: str, *, since: datetime | None, until: datetime | None, tail: int | None
) -> Iterator[LogLine]:
    """Oldest first, rotated files included, up to now or `until`."""
    with engine.explained():
        asked: dict[str, Any] = {"since": since.timestamp()} if since is not None else {}
        if until is not None:
            asked["until"] = until.timestamp() + _LATE_S
        for stamp, text, _whole in _joined(_frames(engine, container, tail="all" if tail is None else tail, **asked)):
            at = containers.time(stamp.decode())
            if (since is None or at >= since) and (until is None or at <= until):
                yield LogLine(service, at, text.decode(errors="replace"))


def read(engine: Engine, source: LogSource, cursor: str | None) -> Iterator[LogBlock]:
    """Behind `cursor`, up to now. The engine knows no places in a log, only times, and several lines may have the same: a place is a line's
    time, to the nanosecond, and how many lines of that time there are up to it."""
    place = json.loads(cursor) if cursor else None
    if place is None:
        yield from _blocks(engine, source, None)
        return
    blocks = _blocks(engine, source, (place["at"].encode(), place["count"]))
    try:
        yield from blocks
    except _GoneError:
        for number, block in enumerate(_blocks(engine, source, None)):
            yield replace(block, gap=number == 0)


class _GoneError(Exception):
    """The line behind which the reading goes on is not in the log any more."""


def _blocks(engine: Engine, source: LogSource, place: tuple[bytes, int] | None) -> Iterator[LogBlock]:
    asked = {"since": int(containers.time(place[0].decode()).timestamp()) - _DISORDER_S} if place else {}
    times: list[bytes] = []
    texts: list[bytes] = []
    known: dict[bytes, int] = {}  # how many lines each of the last times has
    size, skipping = 0, place is not None
    with engine.explained():
        for stamp, text, whole in _joined(_frames(engine, source.id, tail="all", **asked)):
            if not whole and source.running:
                break
            if skipping and place and stamp != place[0]:
                continue
            count = known[stamp] = known.get(stamp, 0) + 1
            if skipping:
                skipping = (stamp, count) != place
                continue
            times.append(stamp)
            texts.append(text)
            size += len(text)
            if size >= _BLOCK or len(texts) >= _BLOCK_LINES:
                yield LogBlock(times, b"\n".join(texts), _cursor(stamp, count))
                times, texts, size, known = [], [], 0, {stamp: count}
    if skipping:
        raise _GoneError
    if texts:
        yield LogBlock(times, b"\n".join(texts), _cursor(times[-1], known[times[-1]]))


def _cursor(stamp: bytes, count: int) -> str:
    return json.dumps({"at": stamp.decode(), "count": count})


def _frames(engine: Engine, container: str, **asked: Any) -> Iterator[bytes]:
    frames: Iterator[bytes] = engine.api.logs(container, stream=True, follow=False, timestamps=True, **asked)
    return frames


def _joined(frames: Iterator[bytes]) -> Iterator[tuple[bytes, bytes, bool]]:
    """Time, text, and whether the line has its end. The engine cuts long lines in pieces of 16 KiB, each with a time of its own; only the
    last one ends the line."""
    at = b""
    pieces: list[bytes] = []
    for frame in frames:
        stamp, _, text = frame.partition(b" ")
        at = at or stamp
        pieces.append(text)
        if text.endswith(b"\n"):
            yield at, b"".join(pieces)[:-1], True
            at, pieces = b"", []
    if at:
        yield at, b"".join(pieces), False
