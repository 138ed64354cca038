"""The quarterly chapter on archives: what nobody uses leaves the database as files, proven first; and its way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from prefect import flow
from pydantic import Field

from flows.backup import back_up_database
from flows.naming import named
from flows.options import Options, waiting
from flows.restore import drill_database
from officeops.archive.batch import Batch
from officeops.archive.pace import give_way
from officeops.archive.plan import ArchivePlan
from officeops.archive.returning import Returned
from officeops.archive.states import BatchRecord
from officeops.clock import utc_now
from officeops.errors import OfficeOpsError
from officeops.runbook.model import Archive
from officeops.site import Site
from tasks import archives as steps
from tasks.account import accounted
from tasks.approvals import approve
from tasks.plans import archive_plan
from tasks.restores import find_backup
from tasks.site import at_work


class ArchiveOptions(Options):
    """What is archived."""

    dry_run: bool = Field(False, description="Only say what would be archived: rows, bytes, statements.")
    policy: str | None = Field(None, description="Only this policy of runbook.yaml; default: all.")
    new: bool = Field(True, description="Begin new batches; without it only those that wait are gone on with.")
    prove: bool = Field(False, description="When rows wait for a backup that was restored in a drill: make one and drill it.")
    wait_minutes: float = waiting()


class UnarchiveOptions(Options):
    """What comes back."""

    dry_run: bool = Field(False, description="Only say what would come back, and what is in the way: it is tried, and taken back.")
    batch: str = Field(description="Id of a batch, or the beginning of one.")
    where: str = Field("", description="SQL condition on the policy's table: only those rows, with their children.")
    wait_minutes: float = waiting()


@dataclass(frozen=True)
class Archived:
    """plans: of a dry run. batches: those that this run worked on, as they are now. waiting: by batch, what for. warnings: what keeps
    space from being given back."""

    plans: list[ArchivePlan] = field(default_factory=list)
    batches: list[BatchRecord] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0


@flow(name="archive", flow_run_name=named("archive", "policy"), description="Old rows leave the database as files.", persist_result=False)
@accounted("archive")
def archive(options: ArchiveOptions = ArchiveOptions()) -> Archived:
    """What waits is gone on with, new batches are exported and read back, and rows whose time has come leave."""
    began = utc_now()
    give_way()
    with at_work("archive", wait_minutes=options.wait_minutes, looks_only=options.dry_run) as site:
        policies = steps.policies(site, options.policy)
        if options.dry_run:
            plans = [steps.plan(site, policy) for policy in policies]
            steps.report_plans(site, plans)
            return Archived(plans=plans)
        batches = steps.pending(site, options.policy)
        troubles = export_all(site, policies if options.new else [], batches)
        if options.prove and any(steps.waits_for(batch) for batch in batches):
            prove(site)
        waiting = {batch.id: why for batch in batches if (why := steps.waits_for(batch))}
        if due := [batch for batch in batches if batch.id not in waiting]:
            approve(site, "archive", plan=archive_plan([batch.record for batch in due]), terms={"batches": [batch.id for batch in due]})
        warnings = [warning for batch in due for warning in remove(batch, troubles)]
        records = [batch.record for batch in batches]
        steps.report_archive(site, records, waiting, [str(trouble) for trouble in troubles])
        if troubles:
            raise troubles[0]
    return Archived([], records, waiting, sorted(set(warnings)), (utc_now() - began).total_seconds())


@flow(name="unarchive", flow_run_name=named("unarchive", "batch"), description="Archived rows come back.", persist_result=False)
@accounted("unarchive")
def unarchive(options: UnarchiveOptions) -> Returned:
    """Parents first; what is in the way stays, and is reported."""
    give_way()
    with at_work(f"unarchive of {options.batch}", wait_minutes=options.wait_minutes) as site:
        returned = steps.bring_back(site, options.batch, options.where, dry_run=options.dry_run)
        steps.report_return(site, returned, dry_run=options.dry_run)
    return returned


def export_all(site: Site, policies: Sequence[Archive], batches: list[Batch]) -> list[OfficeOpsError]:
    """Exports and reads back, batch by batch, until no policy has rows left; adds to `batches`. Returns why policies could not be kept:
    the others are none the worse for it."""
    troubles = []
    for batch in batches:
        if batch.record.state == "exported":
            steps.verify(batch)
    for policy in policies:
        try:
            while steps.export(batch := steps.begin(site, policy)):
                steps.verify(batch)
                batches.append(batch)
        except OfficeOpsError as error:
            troubles.append(error)
    return troubles


def prove(site: Site) -> None:
    """A backup of now, restored in a drill."""
    report = back_up_database(site)
    source = find_backup(site, report.manifest.id, target=None, identity=None)
    drill_database(site, source)


def remove(batch: Batch, troubles: list[OfficeOpsError]) -> list[str]:
    """The rows leave, and their space is given back. Returns warnings."""
    try:
        steps.delete(batch)
        return steps.give_back(batch)
    except OfficeOpsError as error:
        troubles.append(error)
        return []
