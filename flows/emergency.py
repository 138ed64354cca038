"""The chapter on emergencies: the previous release serves again, at once. `officeops emergency` does the same without Prefect."""

from __future__ import annotations

from prefect import flow
from pydantic import Field

from flows.naming import known_as, named, release_tag
from flows.options import Options, waiting
from officeops.releases import emergency as way
from officeops.releases.records import PREVIOUS
from officeops.releases.rollout import Outcome
from officeops.stack.port import short
from tasks import releases as steps
from tasks.account import accounted
from tasks.approvals import approve
from tasks.plans import emergency_plan
from tasks.site import at_work


class EmergencyOptions(Options):
    """Where to go back to."""

    dry_run: bool = Field(False, description="Only say what would serve instead of what.")
    to: str = Field(
        PREVIOUS, description="The release before the one that runs (previous), or one that is on this host, by the beginning of its sha."
    )
    why: str = Field("", description="The reason, for the ledger.")
    wait_minutes: float = waiting(5)


@flow(
    name="emergency",
    flow_run_name=named("emergency rollback to", "to"),
    description="The previous release, at once.",
    log_prints=True,
    persist_result=False,
)
@accounted("emergency")
def emergency(options: EmergencyOptions = EmergencyOptions()) -> Outcome | None:
    """No preflight, no backup, no bake: traffic first, everything else after. None after a dry run."""
    # What killed runs left is seen to by the way back itself, after the requests.
    with at_work(f"emergency rollback to {options.to}", wait_minutes=options.wait_minutes, looks_only=True) as site:
        release = steps.find(site, options.to)
        known_as(f"emergency rollback to {short(release.sha, 7)}{' (dry run)' if options.dry_run else ''}", release_tag(release.sha))
        plan = emergency_plan(site, release)
        if options.dry_run:
            steps.report_plan(site, "emergency", plan)
            return None
        approve(site, "emergency", plan=plan, terms={"to": release.sha})
        return way.back(site, options.to, why=options.why)
