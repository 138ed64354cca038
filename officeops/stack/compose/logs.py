"""What containers printed, line by line, with the time that the engine gave each line."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from officeops.stack.compose import containers
from officeops.stack.compose.engine import Engine
from officeops.stack.port import LogLine

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
        frames = engine.api.logs(container, stream=True, follow=False, timestamps=True, tail="all" if tail is None else tail, **asked)
        for at, text in _joined(frames):
            if (since is None or at >= since) and (until is None or at <= until):
                yield LogLine(service, at, text)


def _joined(frames: Iterator[bytes]) -> Iterator[tuple[datetime, str]]:
    """The engine cuts long lines in pieces of 16 KiB, each with a time of its own; only the last one ends the line."""
    at: datetime | None = None
    pieces: list[bytes] = []
    for frame in frames:
        stamp, _, text = frame.partition(b" ")
        at = at or containers.time(stamp.decode())
        pieces.append(text)
        if text.endswith(b"\n"):
            yield at, b"".join(pieces).decode(errors="replace").rstrip("\n")
            at, pieces = None, []
    if at is not None:
        yield at, b"".join(pieces).decode(errors="replace")
