"""What explains what: a service that is down explains what its dependents fail at, and what is asked of others through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from officeops.probes.rules import RULES

if TYPE_CHECKING:
    from officeops.alerts.engine import Alert
    from officeops.runbook import Runbook

# What fails in an application when something beneath it does. A full disk is explained by nothing.
_EXPLAINED = ("answers", "healthy", "serves", "page", "model", "error_rate", "response", "restarts", "log_errors", "asked", "database")


def cause_in(runbook: Runbook) -> Callable[[Alert, Sequence[Alert]], str | None]:
    """For `Circumstances.cause`."""
    door = next((name for name, service in runbook.services.items() if service.kind == "caddy"), None)
    apps = [name for name, service in runbook.services.items() if service.kind == "app"]

    def cause(alert: Alert, others: Sequence[Alert]) -> str | None:
        if alert.measure not in _EXPLAINED:
            return None
        beneath = beneath_of(runbook, alert.subject)
        if alert.measure in ("serves", "page", "response"):
            beneath = [*beneath, *(apps if alert.subject not in apps else ()), *([door] if door else ())]
        causes = [one for one in others if RULES[one.measure].is_cause]
        own = [one for one in causes if one.subject == alert.subject and _rank(one) < _rank(alert)]
        deep = [one for name in reversed(beneath) for one in causes if one.subject == name and one.subject != alert.subject]
        found = [*deep, *sorted(own, key=_rank)]
        return found[0].name if found else None

    return cause


def beneath_of(runbook: Runbook, name: str) -> list[str]:
    """What a service depends on, near ones first, each once."""
    found: list[str] = []
    waiting = list(runbook.services[name].depends_on) if name in runbook.services else []
    while waiting:
        one = waiting.pop(0)
        if one not in found and one in runbook.services:
            found.append(one)
            waiting += runbook.services[one].depends_on
    return found


def _rank(alert: Alert) -> int:
    """Of a service's own alerts the first explains the others: it is not healthy, so it does not answer."""
    order = ("healthy", "database", "answers", "model")
    return order.index(alert.measure) if alert.measure in order else len(order)
