"""Time is UTC inside; the configured zone only at the edges. Whatever needs the time takes a `Clock`, so that tests can hold it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """`moment` as ISO 8601 in UTC with a trailing Z and microseconds only where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_iso(text: str) -> datetime:
    """The aware UTC time that `iso` wrote. Raises ValueError."""
    return datetime.fromisoformat(text).astimezone(UTC)
