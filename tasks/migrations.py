"""The steps of what is done to the schema by itself, without a release."""

from __future__ import annotations

from officeops.errors import RefusedError
from officeops.releases import records
from officeops.releases.plans import DowngradePlan, Migrated, Pending
from officeops.releases.schema import Schema
from officeops.site import Site
from officeops.stack.port import Release
from tasks import reporting
from tasks.steps import step


@step("plan the contract revisions")
def plan_contract(site: Site, *, dry_run: bool) -> tuple[Pending, ...]:
    """What would be removed. Raises RefusedError while a release that one can go back to needs it."""
    planned = Schema(site).plan_contract(_retained(site))
    if dry_run:
        _report(site, "contract-plan", "What `migrate contract` would do", [_of_pending(one) for one in planned] or ["Nothing waits."])
    return planned


@step("contract")
def contract(site: Site) -> Migrated:
    """What older releases needed goes."""
    return Schema(site).contract(_retained(site))


@step("plan the downgrade")
def plan_downgrade(site: Site, target: str) -> DowngradePlan:
    """What is undone and what goes; as an artifact."""
    plan = Schema(site).plan_downgrade(target)
    lines = [f"From `{plan.current}` to `{plan.target or 'base'}`:", ""]
    lines += [f"- `{one.id}`: {one.doc}" for one in plan.revisions]
    lines += ["", f"Dropped: {'; '.join(plan.drops) or ('nothing' if plan.sql is not None else 'not known')}.", "", *_sql(plan.sql)]
    _report(site, "downgrade-plan", f"A downgrade to {plan.target or 'base'}", lines)
    return plan


def require_confirmation(site: Site, plan: DowngradePlan, confirmed: str) -> None:
    """Raises RefusedError when everything would go and nobody wrote the stack's name."""
    if plan.target is None and plan.revisions and confirmed != site.name:
        raise RefusedError(
            "A downgrade to base drops every table of the application.",
            state="Nothing was changed.",
            todo=f"If that is meant, confirm it with the stack's name: {site.name}.",
        )


@step("downgrade")
def downgrade(site: Site, plan: DowngradePlan) -> Migrated:
    """To what was planned, wherever the schema has gone meanwhile."""
    return Schema(site).downgrade(plan.target or "base")


@step("plan the stamp")
def plan_stamp(site: Site, revision: str) -> str:
    """What would be written down instead of what; as an artifact. Raises UsageError for a revision that the release does not know."""
    schema = Schema(site)
    schema.require_known(revision)
    plan = f"**Stamp**: `{revision}` is written down as the schema's revision, instead of `{schema.current() or 'base'}`."
    _report(site, "stamp-plan", f"A stamp of {revision}", [plan])
    return plan


@step("stamp")
def stamp(site: Site, revision: str) -> Migrated:
    """Only what is written down changes."""
    return Schema(site).stamp(revision)


@step("report")
def report_migration(site: Site, title: str, done: Migrated, *, backup: str) -> None:
    """What was done, for people."""
    lines = [f"From `{done.before or 'base'}` to `{done.after or 'base'}`.", "", *(f"- `{one.id}`: {one.doc}" for one in done.revisions)]
    lines += ["", f"The database before it: `officeops restore {backup}`."]
    _report(site, "migrate", title, lines)


def _retained(site: Site) -> list[Release]:
    return [records.release_of(site, record) for record in records.retained(site)]


def _of_pending(one: Pending) -> str:
    return "\n".join([f"### `{one.revision.id}`: {one.revision.doc}", one.note, *_sql(one.sql)])


def _sql(sql: str | None) -> list[str]:
    return ["```sql", sql.strip(), "```"] if sql else []


def _report(site: Site, name: str, title: str, lines: list[str]) -> None:
    reporting.report(name, site.name, "\n".join([f"## {title}", *lines]), description=title)
