"""The chapter on rolling back: code, settings and, where it must be, the schema."""

from __future__ import annotations

from prefect import flow
from pydantic import Field

from flows.backup import back_up_database
from flows.deploy import take_over
from flows.naming import known_as, named, release_tag
from flows.options import Options, waiting
from officeops.releases.preflight import Plan
from officeops.releases.records import PREVIOUS
from officeops.releases.rollout import Outcome
from officeops.releases.schema import DowngradePlan
from officeops.stack.port import short
from tasks import releases as steps
from tasks.account import accounted
from tasks.approvals import approve
from tasks.plans import release_terms, rollback_plan
from tasks.site import at_work


class RollbackOptions(Options):
    """Where to go back to."""

    dry_run: bool = Field(False, description="Only say what would be done.")
    to: str = Field(
        PREVIOUS, description="The release before the one that runs (previous), or one that is on this host, by the beginning of its sha."
    )
    why: str = Field("", description="The reason, for the ledger.")
    accept_data_loss: bool = Field(
        False, description="Go back although the older release needs an older schema, which drops data. A backup is made first."
    )
    wait_minutes: float = waiting()


@flow(
    name="rollback",
    flow_run_name=named("rollback to", "to"),
    description="An earlier release serves again.",
    log_prints=True,
    persist_result=False,
)
@accounted("rollback")
def rollback(options: RollbackOptions = RollbackOptions()) -> tuple[Plan, DowngradePlan, Outcome | None]:
    """The release and the settings that it ran with, the same way as a deploy, without building. The outcome is None after a dry run."""
    with at_work(f"rollback to {options.to}", wait_minutes=options.wait_minutes, looks_only=options.dry_run) as site:
        release = steps.find(site, options.to)
        known_as(f"rollback to {short(release.sha, 7)}{' (dry run)' if options.dry_run else ''}", release_tag(release.sha))
        schema = steps.downgrades(site, release, accept_data_loss=options.accept_data_loss, dry_run=options.dry_run)
        plan = steps.look(site, release, kind="rollback")
        if options.dry_run or plan.unchanged:
            if options.dry_run:
                steps.report_plan(site, "rollback", rollback_plan(plan, schema))
            return plan, schema, None
        plan.require_passed()
        approve(site, "rollback", plan=rollback_plan(plan, schema), terms=release_terms(plan, schema), always=schema.needed)
        if schema.needed:
            back_up_database(site)
        outcome = take_over(site, plan, options.why, schema=schema)
        steps.report_release(site, plan, outcome, why=options.why)
    return plan, schema, outcome
