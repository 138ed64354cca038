"""Log lines as JSON Lines and back. See docs/log-format.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from officeops.clock import parse_iso
from officeops.stack.port import LogLine
from officeops.streams import DamagedError

_CONTROLS = bytes(code for code in range(32) if code != 10)


def encoded(times: list[bytes], text: bytes) -> bytes:
    """Lines, joined by line feeds, with their times, as JSON Lines. All are escaped at once, and none costs a call of its own. What is no
    UTF-8 becomes U+FFFD."""
    try:
        text.decode()
    except UnicodeDecodeError:
        text = text.decode(errors="replace").encode()
    text = text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    if len(text.translate(None, _CONTROLS)) != len(text):
        for code in _CONTROLS:
            text = text.replace(bytes([code]), b"\\u%04x" % code)
    records = map(b'","text":"'.join, zip(times, text.split(b"\n"), strict=True))
    return b'{"at":"' + b'"}\n{"at":"'.join(records) + b'"}\n'


def decoded(service: str, chunks: Iterable[bytes]) -> Iterator[LogLine]:
    """Undoes `encoded`. Raises DamagedError when it is something else."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            try:
                found = json.loads(line)
                yield LogLine(service, moment(found["at"]), found["text"])
            except (ValueError, KeyError, TypeError) as error:
                raise DamagedError(f"An exported log has a line that is none: {line[:80]!r}.") from error
    if rest:
        raise DamagedError("An exported log ends in the middle of a line.")


def moment(text: str) -> datetime:
    """A line's time, cut to microseconds. A service may print a day that there is not: the beginning of that month then."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    try:
        return parse_iso(f"{whole}.{fraction[:6]:0<6}+00:00")
    except ValueError:
        return datetime(max(1, int(text[:4])), max(1, min(12, int(text[5:7]))), 1, tzinfo=UTC)
