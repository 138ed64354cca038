"""The chapter on common problems: what is wrong is diagnosed, mended step by step, and verified; else a person is called."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed
from pydantic import Field

from flows.naming import named
from flows.options import Options
from officeops.site import open_site
from tasks import healing as steps
from tasks.account import accounted


class HealOptions(Options):
    """What to see to."""

    dry_run: bool = Field(False, description="Only say what would be done.")
    probe: str = Field(description="Name of what is wrong, such as backend.healthy; the command officeops check lists them.")
    approved: bool = Field(
        False, description="You have looked at it: steps that ask first are taken, and the limit of attempts does not hold you up."
    )


@flow(
    name="heal",
    flow_run_name=named("heal", "probe"),
    description="What is wrong, mended as the runbook says.",
    timeout_seconds=6 * 3600,  # a model of many gigabytes may be fetched anew
    persist_result=False,
)
@accounted("incident")
def heal(options: HealOptions) -> State:
    """Started by the watcher's event, or by hand. What must be approved suspends it: the incident waits, and the run goes on with it. A
    person who is called is called by the incident itself, once: the run does not fail."""
    site = open_site()
    if options.dry_run:
        return Completed(message=steps.plan(site, options.probe))
    answers: dict[str, str] = {}
    while (incident := steps.treat(site, options.probe, answers=answers, approved=options.approved)).asks:
        answers |= steps.asked(site, incident)
    steps.report(site, incident)
    if refused := next(filter(None, answers.values()), ""):
        return Cancelled(message=f"{refused} A person was called.")
    return Completed(
        name=(incident.outcome or "ended").capitalize(), message=incident.steps[-1].detail or f"{incident.probe}: {incident.outcome}"
    )
