"""How logs are kept, judged; and which exported days are kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from officeops.ledger.logs import LogPart
from officeops.logs.audit import judged, outdated
from officeops.logs.retention import decide
from officeops.runbook.model import Logs
from officeops.stack.compose.sources import limits
from officeops.stack.port import LogLimits, LogOptions

NOW = datetime(2026, 3, 31, 8, tzinfo=UTC)
GOOD = LogLimits("json-file", 10 << 20, 3)


@pytest.mark.parametrize(
    ("now", "anew", "verdict", "why"),
    [
        (GOOD, GOOD, "ok", ""),
        (replace(GOOD, max_bytes=1 << 20, files=1), GOOD, "ok", ""),
        (replace(GOOD, max_bytes=None), GOOD, "outdated", "no limit, not at most 10 MiB"),
        (replace(GOOD, max_bytes=(10 << 20) + 1), GOOD, "outdated", "not at most"),
        (replace(GOOD, files=4), GOOD, "outdated", "4 files, not at most 3"),
        (replace(GOOD, driver="local"), GOOD, "outdated", "its driver is local"),
        (replace(GOOD, max_bytes=None), replace(GOOD, files=9), "wrong", "its configuration itself says so: it has 9 files"),
        (LogLimits("supervisor", 10 << 20, 3), LogLimits("supervisor", 10 << 20, 3), "ok", ""),
        (LogLimits("supervisor", None, 3), LogLimits("supervisor", 10 << 20, 3), "outdated", "no limit"),
    ],
)
def test_a_log_is_judged_by_what_it_has_and_what_it_would_have(now: LogLimits, anew: LogLimits, verdict: str, why: str) -> None:
    found = judged(LogOptions("web", "web-1", now, anew), Logs())
    assert found.verdict == verdict
    assert why in found.why
    assert outdated([found]) == (["web"] if verdict == "outdated" else [])


@pytest.mark.parametrize(
    ("driver", "options", "expected"),
    [
        ("json-file", {"max-size": "10m", "max-file": "3"}, (10 << 20, 3)),
        ("json-file", {"max-size": "512K"}, (512 << 10, 1)),
        ("json-file", {"max-size": "1.5gb", "max-file": 2}, (3 << 29, 2)),
        ("json-file", {"max-size": "4096"}, (4096, 1)),
        ("json-file", None, (None, 1)),
        ("local", {}, (20 << 20, 5)),
        ("journald", {}, (None, None)),
    ],
)
def test_sizes_are_read_as_the_engine_reads_them(driver: str, options: dict[str, object] | None, expected: tuple[int, int]) -> None:
    found = limits(driver, options)
    assert (found.max_bytes, found.files) == expected


def test_days_go_when_they_are_old_stored_and_days() -> None:
    def part(day: str, *, waits: bool = False) -> LogPart:
        return LogPart(f"web/{day}/x", "x", 1, "web", day, 10, 100, 20, "", f"{day}T08:00:00Z", f"{day}T09:00:00Z", ("file:x",), waits)

    days = [f"{NOW - timedelta(days=age):%Y-%m-%d}" for age in (0, 90, 91, 400)]
    found = decide([*map(part, days), part("2026-02-31"), part("2025-01-01", waits=True), part(days[3])], 90, NOW)
    assert {one.day: one.keep for one in found} == {
        days[0]: True, days[1]: True, days[2]: False, days[3]: False, "2026-02-31": True, "2025-01-01": True,
    }  # fmt: skip
    assert next(one for one in found if one.day == days[3]).lines == 20
    assert {one.reason for one in found if not one.keep} == {"91 days old; 90 are kept", "400 days old; 90 are kept"}
    assert "not stored in every target" in next(one for one in found if one.day == "2025-01-01").reason
