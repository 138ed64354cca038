"""What containers printed, line by line, with the time that the engine gave each line."""

from __future__ import annotations

import heapq
import json
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from operator import attrgetter
from typing import Any

from officeops.stack.compose import containers
from officeops.stack.compose.engine import Engine
from officeops.stack.port import LogBlock, LogLine, LogSource

_BLOCK, _BLOCK_LINES = 1 << 20, 16_384
_CHUNK = 1 << 16
_HEAD = struct.Struct(">BxxxL")
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
        for stamp, text, _whole in _Joined().through(_frames(engine, container, tail="all" if tail is None else tail, **asked)):
            at = containers.time(stamp.decode())
            if (since is None or at >= since) and (until is None or at <= until):
                yield LogLine(service, at, text.decode(errors="replace"))


def read(engine: Engine, source: LogSource, cursor: str | None) -> Iterator[LogBlock]:
    """Behind `cursor`, up to now. The engine knows no places in a log, only times, and several lines may have the same: a place is a line's
    time, to the nanosecond, and how many lines of that time there are up to it."""
    place = json.loads(cursor) if cursor else None
    if place is None:
        yield from _blocks(engine, source, None, None)
        return
    blocks = _blocks(engine, source, (place["at"].encode(), place["count"]), place.get("begun", place["at"]))
    try:
        yield from blocks
    except _GoneError:
        for number, block in enumerate(_blocks(engine, source, None, None)):
            yield replace(block, gap=number == 0)


class _GoneError(Exception):
    """The line behind which the reading goes on is not in the log any more."""


def _blocks(engine: Engine, source: LogSource, place: tuple[bytes, int] | None, since: str | None) -> Iterator[LogBlock]:
    """since: a time that no line behind `place` began before."""
    asked = {"since": int(containers.time(since).timestamp()) - _DISORDER_S} if since else {}
    times: list[bytes] = []
    texts: list[bytes] = []
    known: dict[bytes, int] = {}  # how many lines each of the last times has
    size, skipping, joined = 0, place is not None, _Joined()
    with engine.explained():
        for stamp, text, whole in joined.through(_frames(engine, source.id, tail="all", **asked)):
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
                yield LogBlock(times, b"\n".join(texts), _cursor(stamp, count, joined.begun))
                times, texts, size, known = [], [], 0, {stamp: count}
    if skipping:
        raise _GoneError
    if texts:
        yield LogBlock(times, b"\n".join(texts), _cursor(times[-1], known[times[-1]], joined.begun))


def _cursor(stamp: bytes, count: int, begun: bytes | None) -> str:
    """begun: when the first of the lines began that still wait for their end."""
    place: dict[str, object] = {"at": stamp.decode(), "count": count}
    return json.dumps({**place, "begun": begun.decode()} if begun is not None and begun < stamp else place)


def _frames(engine: Engine, container: str, **asked: Any) -> Iterator[tuple[int, bytes]]:
    """Pieces of the log, with the number of the stream that they are of. The SDK's own way does not say which stream that is, and gives
    the log of a terminal byte by byte."""
    api, params = engine.api, {"stdout": 1, "stderr": 1, "timestamps": 1, "follow": 0, **asked}
    terminal = api.inspect_container(container)["Config"]["Tty"]
    with closing(api._get(api._url("/containers/{0}/logs", container), params=params, stream=True)) as answer:
        api._raise_for_status(answer)
        chunks: Iterator[bytes] = answer.iter_content(_CHUNK)
        yield from _lines_of_terminal(chunks) if terminal else _demultiplexed(chunks)


def _demultiplexed(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Each frame has a head: the stream's number, three zeros, the length of what follows (Docker's API, "Stream format")."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        at = 0
        while len(rest) >= at + _HEAD.size:
            stream, length = _HEAD.unpack_from(rest, at)
            end = at + _HEAD.size + length
            if len(rest) < end:
                break
            yield stream, rest[at + _HEAD.size : end]
            at = end
        rest = rest[at:]


def _lines_of_terminal(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """A terminal has one stream, no frames, and ends its lines in its own way."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield 1, line.removesuffix(b"\r") + b"\n"
    if rest:
        yield 1, rest


class _Joined:
    """Puts lines together. The engine cuts long ones in pieces of 16 KiB, each with a time of its own; only the last one ends the line, and
    what the other stream prints may come in between."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[bytes, list[bytes]]] = {}  # by stream: the time of the first piece, and all of them

    @property
    def begun(self) -> bytes | None:
        """When the first of the lines began that have no end yet; None when there is none."""
        return min((at for at, _ in self._waiting.values()), default=None)

    def through(self, frames: Iterable[tuple[int, bytes]]) -> Iterator[tuple[bytes, bytes, bool]]:
        """Time, text, and whether the line has its end; those that have none come last."""
        for stream, frame in frames:
            stamp, _, text = frame.partition(b" ")
            if stream in self._waiting:
                self._waiting[stream][1].append(text)
            elif not text.endswith(b"\n"):
                self._waiting[stream] = (stamp, [text])
            if text.endswith(b"\n"):
                at, pieces = self._waiting.pop(stream, (stamp, [text]))
                yield at, b"".join(pieces)[:-1], True
        for at, pieces in sorted(self._waiting.values()):
            yield at, b"".join(pieces), False
