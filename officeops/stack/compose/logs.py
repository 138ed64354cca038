"""A container's log, line by line, with the time that the engine gave each line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from officeops.stack.compose import containers
from officeops.stack.compose.engine import Engine
from officeops.stack.port import LogLine


def lines(engine: Engine, service: str, container: str, *, since: datetime | None, tail: int | None) -> Iterator[LogLine]:
    """Oldest first, rotated files included, up to now."""
    with engine.explained():
        asked = {"since": since.timestamp()} if since is not None else {}
        frames = engine.api.logs(container, stream=True, follow=False, timestamps=True, tail="all" if tail is None else tail, **asked)
        for at, text in _joined(frames):
            if since is None or at >= since:
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
