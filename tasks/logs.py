"""The steps of the chapter on logs."""

from __future__ import annotations

from collections.abc import Sequence

from prefect.logging import get_run_logger

from officeops.logs import audit as auditing
from officeops.logs import merging, retention
from officeops.logs.audit import Finding
from officeops.logs.merging import Merged
from officeops.logs.page import audit_page, page, retention_page
from officeops.logs.report import LogReport, last_report, report
from officeops.logs.retention import DayDecision
from officeops.logs.storing import Exported, export_all
from officeops.site import Site
from tasks import reporting
from tasks.steps import step

SUMMARY = "log-summary"


@step("audit", retries=1)
def audit(site: Site) -> list[Finding]:
    """How logs are kept."""
    findings = auditing.audit(site)
    for one in findings:
        if one.verdict != "ok":
            get_run_logger().warning("%s is %s: %s", one.name, one.verdict, one.why)
    return findings


@step("make anew")
def fix(site: Site, services: Sequence[str]) -> list[str]:
    """Rolled services without an interruption."""
    return auditing.fix(site, list(services))


@step("export", retries=2)
def export(site: Site) -> Exported:
    """What the watcher has not exported yet."""
    return export_all(site)


@step("sum up", retries=1)
def sum_up(site: Site, days: float) -> LogReport:
    """The week."""
    return report(site, days=days, remember=True)


@step("plan retention")
def plan_retention(site: Site) -> list[DayDecision]:
    """What would go."""
    return retention.plan(site)


@step("apply retention", retries=1)
def apply_retention(site: Site) -> list[DayDecision]:
    """Old days go."""
    decisions, troubles = retention.apply(site)
    for trouble in troubles:
        get_run_logger().warning("Not removed: %s", trouble)
    return decisions


@step("merge days", retries=1)
def merge_days(site: Site) -> Merged:
    """The small files of each day that is over become one."""
    done = merging.merge(site)
    for trouble in done.troubles:
        get_run_logger().warning("Not merged: %s", trouble)
    return done


@step("report")
def report_plan(site: Site, findings: Sequence[Finding], decisions: Sequence[DayDecision]) -> None:
    """Of a dry run: what would be made anew, what would go, what would be made one."""
    groups = merging.plan(site)
    merged = f"- {sum(map(len, groups))} small files of {len(groups)} days of logs would become one each.\n" if groups else ""
    text = "\n".join([audit_page(findings, []), retention_page(decisions) + merged])
    reporting.report("log-rotation-plan", site.name, text, description="What a log rotation would do")


@step("report")
def report_week(site: Site, findings: Sequence[Finding], done: Sequence[str], decisions: Sequence[DayDecision], merged: Merged) -> None:
    """All of it, for people."""
    parts = [audit_page(findings, done), retention_page(decisions, merged)]
    if (last := last_report(site)) is not None:
        parts.insert(0, page(last, site.config.settings.zone))
    reporting.report("log-rotation", site.name, "\n".join(parts), description="Logs: how they are kept, and the week")


def show_summary(site: Site) -> None:
    """The last report, on the dashboard; nothing before there is one."""
    found = last_report(site)
    if found is not None:
        errors, new = sum(one.errors for one in found.services), sum(each.new for one in found.services for each in one.templates)
        summary = f"Logs of the week: {errors:,} errors, {new} new kinds of lines"
        reporting.report(SUMMARY, site.name, page(found, site.config.settings.zone), description=summary)
