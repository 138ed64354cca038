"""The chapter on emergencies: the previous release serves again, at once. `officeops emergency` does the same without Prefect."""

from __future__ import annotations

from prefect import flow
from pydantic import BaseModel, Field

from flows.naming import named
from officeops.releases import emergency as way
from officeops.releases.records import PREVIOUS
from officeops.releases.rollout import Outcome
from tasks import releases as steps
from tasks.site import at_work


class EmergencyOptions(BaseModel):
    """Where to go back to."""

    to: str = Field(PREVIOUS, description="`previous`, or the beginning of the sha of a release that is on this host.")
    why: str = Field("", description="The reason, for the ledger.")
    wait_minutes: float = Field(5, ge=0, description="How long to wait while something else changes the stack.")


@flow(
    name="emergency",
    flow_run_name=named("emergency rollback to", "to"),
    description="The previous release, at once.",
    log_prints=True,
    persist_result=False,
)
def emergency(options: EmergencyOptions | None = None) -> Outcome:
    """No plan, no backup, no bake: traffic first, everything else after."""
    options = options or EmergencyOptions()
    with at_work(f"emergency rollback to {options.to}", wait_minutes=options.wait_minutes) as site:
        outcome = way.back(site, options.to, why=options.why)
        steps.show_releases(site)
    return outcome
