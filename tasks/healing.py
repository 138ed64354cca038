"""The steps of a treatment."""

from __future__ import annotations

from collections.abc import Mapping

from prefect.runtime import deployment

from officeops.errors import RefusedError
from officeops.ledger.watching import Incident
from officeops.progress import shown_by
from officeops.releases.records import who
from officeops.remedies.asking import indented, must_ask, plan_of
from officeops.remedies.healing import Healing
from officeops.remedies.remedy import Step
from officeops.site import Site
from tasks import reporting
from tasks.approvals import ask
from tasks.steps import step

_LOCKED_S = 600.0  # for whoever holds the stack's lock when a person has approved


@step("plan")
def plan(site: Site, probe: str) -> str:
    """What would be done, in a line."""
    found = Healing(site, who()).plan(probe)
    if found is None:
        return f"{probe} is well: nothing would be done."
    steps = [f"{one.name} (asks first)" if must_ask(site, found.remedy, one) else one.name for one in found.steps]
    return f"{found.patient.detail} — {found.remedy.name}: {' → '.join([*steps, 'page'])}"


@step("treat")
def treat(site: Site, probe: str, *, answers: Mapping[str, str], approved: bool) -> Incident:
    """One incident, from its diagnosis to its end, or to the first step that somebody has to approve. answers: by step; empty: approved,
    else why not. approved: whatever is asked."""

    def answer(_incident: Incident, step: Step) -> bool:
        if answers.get(step.name):
            raise RefusedError(answers[step.name])
        return approved or step.name in answers

    by = f"{who()} (by hand)" if approved else "the flow heal"
    doctor = Healing(site, by, approve=answer, by_hand=approved, wait_s=_LOCKED_S if answers else 0.0)
    with shown_by(reporting.ProgressArtifacts()):
        return doctor.heal(probe)


def asked(site: Site, incident: Incident) -> dict[str, str]:
    """The answer to the step that the incident waits for. Suspends the run until there is one: then it begins again from its top."""
    step = str(incident.asks)
    if deployment.id is None:
        return {step: "A run without a deployment cannot wait for an answer."}
    terms = {"incident": incident.id, "remedy": incident.remedy, "step": step}
    try:
        ask(site, "heal", plan=plan_of(incident, step), terms=terms, state="Nothing more is done before somebody has answered.")
    except RefusedError as error:
        return {step: error.what}
    return {step: ""}


@step("report")
def report(site: Site, incident: Incident) -> None:
    """The timeline and the diagnosis, for people."""
    rows = "\n".join(f"| {one.at} | {one.what} | {one.outcome} | {_cell(one.detail)} |" for one in incident.steps)
    text = (
        f"## {incident.probe}: {incident.outcome}\nIncident `{incident.id}`, remedy `{incident.remedy}`.\n\n"
        f"| at | step | outcome | |\n|---|---|---|---|\n{rows}\n\n{indented(incident.diagnosis)}\n"
    )
    reporting.report("incident", site.name, text, description=f"{incident.probe}: {incident.outcome}")


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")[:300]
