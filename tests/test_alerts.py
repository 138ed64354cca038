"""What somebody should look at now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from officeops.alerts import alerts
from officeops.stack import ServiceStatus

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
WELL = ServiceStatus("backend", "running", "healthy", 0, None, None)
ILL = ServiceStatus("backend", "running", "unhealthy", 3, None, None, "answers 503")
DOWN = ServiceStatus("redis", "stopped", "unknown", 0, None, None)


@pytest.mark.parametrize(
    ("services", "age", "expected"),
    [
        ([WELL], timedelta(hours=6), []),
        ([WELL], timedelta(hours=26), []),
        ([ILL, DOWN], timedelta(hours=6), ["backend is unhealthy: answers 503", "redis is stopped"]),
        ([WELL], timedelta(hours=50), ["The newest verified backup is 50 hours old; the runbook allows 26."]),
        ([WELL], None, ["There is no verified backup."]),
    ],
)
def test_alerts(services: list[ServiceStatus], age: timedelta | None, expected: list[str]) -> None:
    last = None if age is None else NOW - age
    assert [alert.text for alert in alerts(services, last_verified=last, max_age=timedelta(hours=26), now=NOW)] == expected
