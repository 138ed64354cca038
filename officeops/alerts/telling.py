"""What people read: one message for each change, in the words of the runbook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from officeops.alerts.engine import Alert, Change
from officeops.notify import Message

if TYPE_CHECKING:
    from officeops.notify import Delivery
    from officeops.site import Site

_WORDS = {"firing": "", "reminder": "still: ", "resolved": "well again: ", "acknowledged": "taken care of: "}


def tell(site: Site, changes: Sequence[Change]) -> list[Delivery]:
    """Sends each. Never raises for a channel: what could not be delivered is in what is returned."""
    from officeops.notify import send

    return [delivery for change in changes for delivery in send(site.config.settings, site.config.runbook, message(change))]


def message(change: Change) -> Message:
    """A change in words."""
    alert = change.alert
    good = change.kind in ("resolved", "acknowledged")
    return Message(
        what=f"{_WORDS[change.kind]}{alert.name}",
        severity="info" if good else alert.severity,
        role=alert.role,
        since=alert.since,
        error="\n".join([_text(change), *_explained(change)]),
        todo="" if good else f"{alert.action}\n`officeops ack {alert.name}` says that you take care of it.",
    )


def _text(change: Change) -> str:
    alert = change.alert
    match change.kind:
        case "resolved":
            return f"It was wrong for {_duration(alert)}. Last: {alert.text}"
        case "acknowledged":
            return f"By {alert.by}: {alert.text}"
        case _:
            return alert.text


def _explained(change: Change) -> list[str]:
    return [f"This explains: {', '.join(change.explained)}."] if change.explained else []


def _duration(alert: Alert) -> str:
    seconds = ((alert.resolved_at or alert.seen_at) - alert.since).total_seconds()
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
