"""The steps of a treatment."""

from __future__ import annotations

from officeops.ledger.watching import Incident
from officeops.progress import shown_by
from officeops.releases.records import who
from officeops.remedies.healing import Healing
from officeops.site import Site
from tasks import reporting
from tasks.steps import step


@step("plan")
def plan(site: Site, probe: str) -> str:
    """What would be done, in a line."""
    found = Healing(site, who()).plan(probe)
    if found is None:
        return f"{probe} is well: nothing would be done."
    return f"{found.patient.detail} — {found.remedy.name}: {' → '.join([*(one.name for one in found.steps), 'page'])}"


@step("treat")
def treat(site: Site, probe: str, *, approved: bool) -> Incident:
    """One incident, from its diagnosis to its end."""
    doctor = Healing(
        site, f"{who()} (by hand)" if approved else "the flow heal", approve=lambda _patient, _step: approved, by_hand=approved
    )
    with shown_by(reporting.ProgressArtifacts()):
        return doctor.heal(probe)


@step("report")
def report(site: Site, incident: Incident) -> None:
    """The timeline and the diagnosis, for people."""
    rows = "\n".join(f"| {one.at} | {one.what} | {one.outcome} | {_cell(one.detail)} |" for one in incident.steps)
    text = (
        f"## {incident.probe}: {incident.outcome}\nIncident `{incident.id}`, remedy `{incident.remedy}`.\n\n"
        f"| at | step | outcome | |\n|---|---|---|---|\n{rows}\n\n{_indented(incident.diagnosis)}\n"
    )
    reporting.report("incident", site.name, text, description=f"{incident.probe}: {incident.outcome}")


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")[:300]


def _indented(diagnosis: str) -> str:
    """Its titles as titles, all else as it is."""
    return "\n".join(f"\n#{line}\n" if line.startswith("## ") else f"    {line}" for line in diagnosis.splitlines())
