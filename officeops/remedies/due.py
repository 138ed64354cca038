"""Which alerts should be seen to now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from officeops.alerts.engine import Alert
from officeops.lock import lock_holder
from officeops.remedies.asking import is_waiting
from officeops.remedies.healing import mode_of, standing_of
from officeops.remedies.known import remedies
from officeops.remedies.remedy import Patient

if TYPE_CHECKING:
    from officeops.site import Site


def due(site: Site, alerts: Sequence[Alert]) -> list[str]:
    """Names of those that fire, that nothing else explains, that a remedy fits which the runbook lets do something, and whose target is not
    being treated, not just treated, and for which no person was called or is being asked. Each target once; nothing while somebody changes the stack."""
    firing = [one for one in alerts if one.phase == "firing" and one.cause is None and one.well_since is None]
    if not firing or lock_holder(site.home, site.name) is not None:
        return []
    found: dict[str, str] = {}
    known = remedies(site.config)
    for alert in firing:
        patient = Patient(site, alert.name, alert.measure, alert.text)
        remedy = next((one for one in known if one.fits(patient)), None)
        if remedy is None or mode_of(site, remedy) == "never" or alert.subject in found:
            continue
        stand = standing_of(site, alert.subject, remedy)
        if is_waiting(site, alert.subject, remedy.name):
            continue
        if not stand.goes_on and stand.again_at is None and not _called(site, alert):
            found[alert.subject] = alert.name
    return list(found.values())


def _called(site: Site, alert: Alert) -> bool:
    """Whether a person was called for it since it began: the circuit stays open until it is over."""
    return any(one.outcome == "paged" for one in site.ledger.incidents(since=alert.since, target=alert.subject))
