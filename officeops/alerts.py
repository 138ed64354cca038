"""What somebody should look at now: a pure function of what is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from officeops.stack import ServiceStatus


@dataclass(frozen=True)
class Alert:
    """name: what kind, and of what; the same as long as it lasts. text: for people."""

    name: str
    text: str


def alerts(services: Sequence[ServiceStatus], *, last_verified: datetime | None, max_age: timedelta, now: datetime) -> list[Alert]:
    """last_verified: when the newest verified backup was made, None without one; max_age: how old it may be."""
    found = [
        Alert(
            f"service:{one.name}",
            f"{one.name} is {one.state if one.state != 'running' else one.health}" + (f": {one.detail}" if one.detail else ""),
        )
        for one in services
        if one.state != "running" or one.health == "unhealthy"
    ]
    if last_verified is None:
        found.append(Alert("backup", "There is no verified backup."))
    elif now - last_verified > max_age:
        hours = (now - last_verified) / timedelta(hours=1)
        found.append(
            Alert("backup", f"The newest verified backup is {hours:.0f} hours old; the runbook allows {max_age / timedelta(hours=1):g}.")
        )
    return found
