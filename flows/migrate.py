"""The chapter on the schema by itself: what waited for older releases to go, the way down, and the repair of what is written down."""

from __future__ import annotations

from prefect import flow
from pydantic import Field

from flows.backup import back_up_database
from flows.naming import named
from flows.options import Options, waiting
from officeops.releases.plans import DowngradePlan, Migrated, Pending
from tasks import migrations as steps
from tasks.account import accounted
from tasks.approvals import approve
from tasks.plans import contract_plan, downgrade_plan, downgrade_terms
from tasks.site import at_work


class ContractOptions(Options):
    """Contract revisions of the release that runs."""

    dry_run: bool = Field(False, description="Only say what would be removed.")
    wait_minutes: float = waiting()


class DowngradeOptions(Options):
    """Where the schema goes back to."""

    dry_run: bool = Field(False, description="Only say what would be undone and dropped.")
    target: str = Field(description="A revision, base, or a number of revisions such as -1.")
    confirm: str = Field("", description="For base, which drops everything: the stack's name.")
    wait_minutes: float = waiting()


class StampOptions(Options):
    """What is written down."""

    dry_run: bool = Field(False, description="Only say what would be written down instead of what.")
    revision: str = Field(description="The revision that the schema really has, or base.")
    wait_minutes: float = waiting()


@flow(
    name="migrate-contract",
    flow_run_name=named("migrate contract"),
    description="What older releases needed goes from the schema.",
    persist_result=False,
)
@accounted("migrate")
def migrate_contract(options: ContractOptions = ContractOptions()) -> tuple[tuple[Pending, ...], Migrated | None]:
    """Refused while a release that one can go back to needs it. The second is None when nothing was done."""
    with at_work("migrate contract", wait_minutes=options.wait_minutes) as site:
        planned = steps.plan_contract(site, dry_run=options.dry_run)
        if options.dry_run or not planned:
            return planned, None
        approve(site, "contract", plan=contract_plan(planned), terms={"revisions": [one.revision.id for one in planned]})
        backup = back_up_database(site)
        done = steps.contract(site)
        steps.report_migration(site, "Contracted", done, backup=backup.manifest.id)
    return planned, done


@flow(
    name="migrate-downgrade",
    flow_run_name=named("migrate downgrade", "target"),
    description="Revisions of the schema are undone.",
    persist_result=False,
)
@accounted("migrate")
def migrate_downgrade(options: DowngradeOptions) -> tuple[DowngradePlan, Migrated | None]:
    """By the program of the release that knows them; the release that runs is not asked whether it can live with that."""
    with at_work(f"migrate downgrade to {options.target}", wait_minutes=options.wait_minutes) as site:
        plan = steps.plan_downgrade(site, options.target)
        if options.dry_run or not plan.revisions:
            return plan, None
        steps.require_confirmation(site, plan, options.confirm)
        approve(site, "downgrade", plan=downgrade_plan(plan), terms=downgrade_terms(plan))
        backup = back_up_database(site)
        done = steps.downgrade(site, plan)
        steps.report_migration(site, "Downgraded", done, backup=backup.manifest.id)
    return plan, done


@flow(
    name="migrate-stamp",
    flow_run_name=named("migrate stamp", "revision"),
    description="The revision that is written down is corrected.",
    persist_result=False,
)
@accounted("migrate")
def migrate_stamp(options: StampOptions) -> Migrated | None:
    """The schema itself stays as it is. None after a dry run."""
    with at_work(f"migrate stamp {options.revision}", wait_minutes=options.wait_minutes) as site:
        plan = steps.plan_stamp(site, options.revision)
        if options.dry_run:
            return None
        approve(site, "stamp", plan=plan, terms={"to": options.revision})
        backup = back_up_database(site)
        done = steps.stamp(site, options.revision)
        steps.report_migration(site, "Stamped", done, backup=backup.manifest.id)
    return done
