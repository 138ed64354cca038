"""The steps of an archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect.logging import get_run_logger

from officeops.archive import states
from officeops.archive.batch import Batch, WaitingError, policy_named
from officeops.archive.plan import ArchivePlan
from officeops.archive.plan import plan as plan_policy
from officeops.archive.returning import Return, Returned
from officeops.archive.states import BatchRecord
from officeops.runbook.model import Archive
from officeops.site import Site
from tasks import reporting
from tasks.steps import step


def policies(site: Site, name: str | None) -> list[Archive]:
    """The policy of that name, or all of the runbook."""
    return [policy_named(site, name)] if name else list(site.config.runbook.archives)


@step("plan", retries=1)
def plan(site: Site, policy: Archive) -> ArchivePlan:
    """Rows, bytes, statements."""
    return plan_policy(site, policy)


@step("take up what waits", retries=1)
def pending(site: Site, policy: str | None) -> list[Batch]:
    """Batches that are not done; one that was killed while it was exported is put away."""
    return Batch.pending(site, policy=policy)


@step("begin a batch", retries=1)
def begin(site: Site, policy: Archive) -> Batch:
    """Refused when the policy cannot be kept."""
    return Batch.begin(site, policy)


@step("export", retries=2)
def export(batch: Batch) -> bool:
    """The rows of one moment, into every target."""
    return batch.export()


@step("verify", retries=2)
def verify(batch: Batch) -> None:
    """From the targets, by the database."""
    batch.verify()


@step("look whether rows may leave")
def waits_for(batch: Batch) -> str:
    """What a batch waits for; empty when its rows may leave."""
    try:
        batch.require_due()
    except WaitingError as error:
        get_run_logger().info("%s", error)
        return error.what
    return ""


@step("delete", retries=2)
def delete(batch: Batch) -> None:
    """Rows that are still what was exported."""
    batch.delete()


@step("give space back", retries=1)
def give_back(batch: Batch) -> list[str]:
    """VACUUM, and what stands in its way."""
    warnings = batch.give_back()
    for warning in warnings:
        get_run_logger().warning("%s", warning)
    return warnings


@step("bring back", retries=1)
def bring_back(site: Site, batch: str, where: str, *, dry_run: bool) -> Returned:
    """Parents first, compared."""
    return Return(site, batch, where=where, dry_run=dry_run).run()


@step("report")
def report_plans(site: Site, plans: Sequence[ArchivePlan]) -> None:
    """What a dry run found, for people."""
    lines = ["## What would be archived"]
    for one in plans:
        lines += ["", f"### {one.policy}: rows before {one.older_than:%Y-%m-%d %H:%M} UTC, in {one.batches} batches", ""]
        lines += ["| Table | Rows | Bytes |", "|---|---|---|"]
        lines += [f"| {table} | {amount.rows:,} | {amount.bytes:,} |" for table, amount in one.tables.items()]
        lines += ["", f"To {', '.join(one.targets)}.", *(f"- {note}" for note in one.notes), "", "```sql"]
        lines += [*(f"{statement};" for statement in one.statements), "```"]
    reporting.report("archive-plan", site.name, "\n".join(lines), description="What would be archived")


@step("report")
def report_archive(site: Site, records: Sequence[BatchRecord], waiting: Mapping[str, str], troubles: Sequence[str]) -> None:
    """What was archived, for people."""
    lines = ["## Archive", ""]
    lines += [f"- **{trouble}**" for trouble in troubles]
    for record in records:
        manifest = record.contents
        stayed = ", ".join(f"{rows:,} {why}" for why, rows in record.absent.items() if why != "returned")
        lines.append(
            f"- `{record.id}` ({record.policy}): {manifest.rows:,} rows, {manifest.bytes:,} bytes, {record.state}"
            + (f"; stayed in the database: {stayed}" if stayed else "")
            + (f". {waiting[record.id]}" if record.id in waiting else "")
        )
        before, after = record.sizes.get("before", {}), record.sizes.get("after", {})
        lines += [f"  - {table}: {size:,} bytes before, {after[table]:,} after" for table, size in before.items() if table in after]
    if not records and not troubles:
        lines.append("There was nothing to archive.")
    reporting.report("archive", site.name, "\n".join(lines), description="What was archived")


def show_archives(site: Site) -> None:
    """What each policy took, and what waits; nothing without policies."""
    if rows := policy_rows(site):
        reporting.table("archives", site.name, rows, description="What each policy archived, and what waits")


def policy_rows(site: Site) -> list[dict[str, Any]]:
    """A row for each policy of the runbook, also before its first batch."""
    if not site.config.runbook.archives:
        return []
    with states.session(site, "dashboard") as connection:
        known = states.batches(connection)
    return [_policy_row(site, policy, [one for one in known if one.policy == policy.name]) for policy in site.config.runbook.archives]


def _policy_row(site: Site, policy: Archive, batches: Sequence[BatchRecord]) -> dict[str, Any]:
    done = [one for one in batches if one.state == "done"]
    waiting = [one for one in batches if one.state != "done"]
    newest = max((one.exported_at for one in batches if one.exported_at), default=None)
    return {
        "policy": policy.name, "rows of": policy.table, "older than (days)": policy.older_than_days, "batches": len(batches),
        "rows archived": sum(one.contents.rows for one in done), "batches that wait": ", ".join(one.id for one in waiting),
        "last export": f"{newest.astimezone(site.config.settings.zone):%Y-%m-%d %H:%M}" if newest else "never",
    }  # fmt: skip


@step("report")
def report_return(site: Site, returned: Returned, *, dry_run: bool) -> None:
    """What came back, or would, for people."""
    done = "would come back" if dry_run else "brought back"
    lines = [f"## Batch `{returned.batch}` {done}", "", "| Table | Rows |", "|---|---|"]
    lines += [f"| {table} | {rows:,} |" for table, rows in returned.rows.items()]
    lines += ["", f"{returned.refused:,} units stay archived:" if returned.refused else "No conflicts."]
    lines += [f"- {conflict}" for conflict in returned.conflicts[:100]]
    name = "unarchive-plan" if dry_run else "unarchive"
    reporting.report(name, site.name, "\n".join(lines), description=f"Batch {returned.batch} {done}")
