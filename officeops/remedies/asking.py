"""What a person approves before it is done: a treatment stops there, its incident waits, and goes on from there once somebody has answered."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from officeops.clock import parse_iso
from officeops.ledger.watching import ASKED, Incident

if TYPE_CHECKING:
    from officeops.remedies.remedy import Remedy, Step
    from officeops.site import Site

_GRACE = timedelta(minutes=5)  # an answer of the last moment is still being read
_DIAGNOSIS = 6000  # characters that a form shows; `officeops incidents ID` has all of it
_RECENT = 20


def must_ask(site: Site, remedy: Remedy, step: Step) -> bool:
    """Whether a person approves this step first."""
    from officeops.remedies.healing import mode_of

    return step.asks or mode_of(site, remedy) == "ask"


def waiting(site: Site, target: str, remedy: str) -> Incident | None:
    """The incident that waits for somebody's answer, if there is one."""
    known = site.ledger.incidents(target=target, limit=_RECENT)
    return next((one for one in known if one.outcome == ASKED and one.remedy == remedy), None)


def asked_about(site: Site, probe: str) -> Incident | None:
    """Likewise, by the reading that raised it."""
    known = site.ledger.incidents(target=probe.partition(".")[0], limit=_RECENT)
    return next((one for one in known if one.outcome == ASKED and one.probe == probe), None)


def is_waiting(site: Site, target: str, remedy: str) -> bool:
    """Whether somebody is being asked, and may still answer."""
    found = waiting(site, target, remedy)
    return found is not None and not is_over(site, found) and not is_expired(site, found)


def is_over(site: Site, incident: Incident) -> bool:
    """Whether what it was about ended by itself meanwhile: an alert that is open now began later."""
    alert = next((one for one in site.ledger.alerts() if one.name == incident.probe), None)
    return alert is not None and incident.ended_at is not None and alert.since > parse_iso(incident.ended_at)


def is_expired(site: Site, incident: Incident) -> bool:
    """Whether nobody will answer any more (`approvals.expires_hours`)."""
    allowed = timedelta(hours=site.config.runbook.approvals.expires_hours) + _GRACE
    return incident.ended_at is not None and site.clock() - parse_iso(incident.ended_at) > allowed


def plan_of(incident: Incident, step: str) -> str:
    """What is asked, as Markdown: what is wrong, what was done about it, the next step, the diagnosis."""
    wrong = next((one.detail for one in incident.steps if one.what == "diagnosis"), incident.probe)
    done = ", ".join(f"{one.what} ({one.outcome})" for one in incident.steps if one.what in incident.actions) or "nothing"
    return (
        f"**{wrong}**\n\n**Next step: {step}** (remedy `{incident.remedy}`). Done so far: {done}. If it is refused, or does not help and "
        f"nothing is left, a person is called.\n\n### Diagnosis\n\n{indented(incident.diagnosis[:_DIAGNOSIS])}"
    )


def indented(diagnosis: str) -> str:
    """A diagnosis as Markdown: its titles as titles, all else as it is."""
    return "\n".join(f"\n##{line}\n" if line.startswith("## ") else f"    {line}" for line in diagnosis.splitlines())
