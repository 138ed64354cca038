"""Reading the logs of the embedded stack from a moment on."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from officeops.stack.local import logs

BEGIN = datetime(2026, 3, 1, 8, tzinfo=UTC)


def write(path: Path, first: int, count: int) -> None:
    """A line each second, every tenth followed by two that say no time."""
    with path.open("w") as out:
        for number in range(first, first + count):
            at = BEGIN + timedelta(seconds=number)
            out.write(f"{at:%Y-%m-%d %H:%M:%S}.000 UTC [1] line {number} {'x' * 60} 日本語\n")
            if number % 10 == 0:
                out.write("Traceback\n  no time here\n")


def test_what_is_older_is_not_read_and_nothing_newer_is_missed(tmp_path: Path) -> None:
    newest = tmp_path / "backend.log"
    write(tmp_path / "backend.log.1", 0, 20_000)
    os.utime(tmp_path / "backend.log.1", (BEGIN.timestamp() + 20_000,) * 2)
    write(newest, 20_000, 20_000)
    whole = list(logs.lines("backend", newest))
    for second in (0, 5_001, 19_999, 20_000, 20_010, 39_990, 39_999):
        since = BEGIN + timedelta(seconds=second)
        expected = [line for line in whole if line.at >= since]
        found = list(logs.lines("backend", newest, since))
        assert [line for line in found if line.at >= since] == expected
        assert len(found) - len(expected) < 22_000
    near_the_end = list(logs.lines("backend", newest, BEGIN + timedelta(seconds=39_990)))
    assert len(near_the_end) < 2_000
