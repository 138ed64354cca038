"""When nobody is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from officeops.alerts.quiet import Silence, in_window, is_expected, is_muted
from officeops.clock import iso
from officeops.lock import Holder
from officeops.runbook.load import read_runbook
from officeops.runbook.watching import Maintenance
from tests.support.site import PROJECT

TOKYO = ZoneInfo("Asia/Tokyo")
NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)  # a Sunday, 17:00 in Tokyo


@pytest.mark.parametrize(
    ("start", "end", "days", "local", "inside"),
    [
        ("16:00", "18:00", (), "2026-03-01T17:00", True),
        ("16:00", "17:00", (), "2026-03-01T17:00", False),
        ("16:00", "18:00", ("sun",), "2026-03-01T17:00", True),
        ("16:00", "18:00", ("mon",), "2026-03-01T17:00", False),
        ("23:00", "02:00", ("sun",), "2026-03-01T23:30", True),
        ("23:00", "02:00", ("sun",), "2026-03-02T01:59", True),  # Monday, of the window that began on Sunday
        ("23:00", "02:00", ("mon",), "2026-03-02T01:59", False),
        ("23:00", "02:00", (), "2026-03-02T02:00", False),
    ],
)
def test_windows_are_in_the_zone_of_people(start: str, end: str, days: tuple[str, ...], local: str, inside: bool) -> None:
    window = Maintenance.model_validate({"start": start, "end": end, "days": days})
    assert in_window(window, datetime.fromisoformat(local).replace(tzinfo=TOKYO).astimezone(UTC), TOKYO) is inside


def test_a_silence_covers_a_pattern_until_its_end() -> None:
    silence = Silence("1", "backend.*", iso(NOW + timedelta(hours=1)), "sato", "", iso(NOW))
    assert is_muted("backend.health", NOW, [silence], [], TOKYO)
    assert not is_muted("frontend.page", NOW, [silence], [], TOKYO)
    assert not is_muted("backend.health", NOW + timedelta(hours=1), [silence], [], TOKYO)


@pytest.mark.parametrize(
    ("doing", "name", "expected"),
    [
        ("deploy of v2", "backend.health", True),
        ("deploy of v2", "frontend.page", True),
        ("deploy of v2", "postgres.answers", False),
        ("emergency rollback to previous", "backend.healthy", True),
        ("restore of latest", "postgres.answers", True),
        ("restore drill", "postgres.answers", False),
        ("backup", "backend.health", False),
        ("backup of volumes", "backend.health", True),
        ("backup of volumes", "ollama.ai_health", True),  # it is asked through the backend, which is stopped
        ("backup of volumes", "ollama.model", False),
        ("backup", "ollama.ai_health", False),
        ("backup of basebackup", "backend.health", False),
        ("up", "ollama.model", True),
        ("deploy of v2", "host.disk", False),
    ],
)
def test_what_is_being_worked_on_is_expected(doing: str, name: str, expected: bool) -> None:
    runbook, _problems = read_runbook(PROJECT / "runbook.yaml")
    assert runbook is not None
    holder = Holder(doing, "sato@host", 1, iso(NOW - timedelta(minutes=5)))
    assert is_expected(name, holder, runbook, NOW) is expected
    assert not is_expected(name, None, runbook, NOW)
    assert not is_expected(name, holder, runbook, NOW + timedelta(hours=1)), "an operation that hangs is no excuse"
