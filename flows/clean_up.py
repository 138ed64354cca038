"""The weekly chapter on room: what no release, stack or running service needs leaves the disk."""

from __future__ import annotations

from prefect import flow
from pydantic import Field

from flows.naming import named
from flows.options import Options, waiting
from officeops.upkeep.clean_up import CleanedUp
from tasks import upkeep as steps
from tasks.account import accounted
from tasks.site import at_work


class CleanUpOptions(Options):
    """What is looked at is always everything of this stack."""

    dry_run: bool = Field(False, description="Only list what would go, each with its size and why.")
    wait_minutes: float = waiting()


@flow(name="clean-up", flow_run_name=named("clean-up"), description="What nothing needs leaves the disk.", persist_result=False)
@accounted("clean-up")
def clean_up(options: CleanUpOptions = CleanUpOptions()) -> CleanedUp:
    """Images, build cache, containers, releases, virtualenvs: ours, and needed by no rollback."""
    with at_work("clean-up", wait_minutes=options.wait_minutes) as site:
        plan = steps.look(site)
        done = plan if options.dry_run else steps.clean_up(site, plan)
        steps.report_clean_up(site, done, dry_run=options.dry_run)
    return done
