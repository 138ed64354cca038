"""What containers printed, line by line, with the time that the engine gave each line."""

from __future__ import annotations

import heapq
import json
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import attrgetter, itemgetter
from types import MappingProxyType
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
        for stamp, text in _Joined().all(_frames(engine, container, tail="all" if tail is None else tail, **asked)):
            at = containers.time(stamp.decode())
            if (since is None or at >= since) and (until is None or at <= until):
                yield LogLine(service, at, text.decode(errors="replace"))


def read(engine: Engine, source: LogSource, cursor: str | None) -> Iterator[LogBlock]:
    """Behind `cursor`, up to now. The engine knows no places in a log, only times, and several lines may have the same: a place is a line's
    time, to the nanosecond, and how many lines of that time there are up to it."""
    try:
        yield from _blocks(engine, source, _Place(**json.loads(cursor)) if cursor else _Place())
    except _GoneError:
        for number, block in enumerate(_blocks(engine, source, _Place())):
            yield replace(block, gap=number == 0)


@dataclass(frozen=True)
class _Place:
    """How far a log was read. at, count: of the last line that has its end, empty before there is one. begun: when the first of the lines
    began that still wait for theirs. cuts: how much there was, by stream and time, of lines that never got one, since their container had
    ended. One that is started again goes on in the same log, and what it prints first would seem to be the rest of such a line."""

    at: str = ""
    count: int = 0
    begun: str | None = None
    cuts: Mapping[str, int] = field(default_factory=dict)

    @property
    def since(self) -> int | None:
        """Seconds since 1970 from which on the engine is asked; None: from the beginning."""
        first = min(filter(None, (self.at, self.begun)), default=None) if self.at else None
        return int(containers.time(first).timestamp()) - _DISORDER_S if first else None

    def cursor(self) -> str:
        """As text, without what is not so, and without what the engine will not be asked for again."""
        since = self.since or 0
        cuts = {key: size for key, size in self.cuts.items() if containers.time(key.partition(" ")[2]).timestamp() >= since - 1}
        return json.dumps({key: value for key, value in {**vars(self), "cuts": cuts}.items() if value})


class _GoneError(Exception):
    """The line behind which the reading goes on is not in the log any more."""


def _blocks(engine: Engine, source: LogSource, place: _Place) -> Iterator[LogBlock]:
    asked = {} if place.since is None else {"since": place.since}
    skipped = (place.at.encode(), place.count) if place.at else None
    times: list[bytes] = []
    texts: list[bytes] = []
    known: dict[bytes, int] = {}  # how many lines each of the last times has
    size, joined = 0, _Joined(place.cuts)
    with engine.explained():
        for stamp, text in joined.through(_frames(engine, source.id, tail="all", **asked)):
            if skipped and stamp != skipped[0]:
                continue
            count = known[stamp] = known.get(stamp, 0) + 1
            if skipped:
                skipped = None if (stamp, count) == skipped else skipped
                continue
            times.append(stamp)
            texts.append(text)
            size += len(text)
            if size >= _BLOCK or len(texts) >= _BLOCK_LINES:
                place = replace(place, at=stamp.decode(), count=count, begun=joined.begun)
                yield LogBlock(times, b"\n".join(texts), place.cursor())
                times, texts, size, known = [], [], 0, {stamp: count}
    if skipped:
        raise _GoneError
    if texts:
        place = replace(place, at=times[-1].decode(), count=known[times[-1]])
    begun = joined.begun
    if not source.running:
        begun, cuts = None, dict(place.cuts)
        for stream, stamp, text in joined.waiting():
            times.append(stamp)
            texts.append(text)
            cuts[_key(stream, stamp)] = len(text)
        place = replace(place, cuts=cuts)
    if texts:
        yield LogBlock(times, b"\n".join(texts), replace(place, begun=begun).cursor())


def _key(stream: int, stamp: bytes) -> str:
    return f"{stream} {stamp.decode()}"


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
    what the other stream prints may come in between. cuts: as of a place; those lines are left out."""

    def __init__(self, cuts: Mapping[str, int] = MappingProxyType({})) -> None:
        self._cuts = cuts
        self._waiting: dict[int, tuple[bytes, list[bytes]]] = {}  # by stream: the time of the first piece, and all of them

    @property
    def begun(self) -> str | None:
        """When the first of the lines began that have no end yet; None when there is none."""
        return min((at.decode() for at, _ in self._waiting.values()), default=None)

    def waiting(self) -> list[tuple[int, bytes, bytes]]:
        """Stream, time and text of the lines that have no end yet, oldest first."""
        return sorted(((stream, at, b"".join(pieces)) for stream, (at, pieces) in self._waiting.items()), key=itemgetter(1))

    def all(self, frames: Iterable[tuple[int, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        """Time and text of each line, those that have no end last."""
        yield from self.through(frames)
        yield from ((at, text) for _, at, text in self.waiting())

    def through(self, frames: Iterable[tuple[int, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        """Time and text of each line that has its end."""
        for stream, frame in frames:
            stamp, _, text = frame.partition(b" ")
            if text.endswith(b"\n"):
                at, pieces = self._waiting.pop(stream, (stamp, []))
                yield at, b"".join([*pieces, text])[:-1]
                continue
            at, pieces = self._waiting.setdefault(stream, (stamp, []))
            pieces.append(text)
            if self._cuts and self._cuts.get(_key(stream, at)) == sum(map(len, pieces)):
                del self._waiting[stream]
