"""The weekly chapter on logs: how they are kept, what they say, and which old ones go."""

from __future__ import annotations

from dataclasses import dataclass, field

from prefect import flow
from pydantic import Field

from flows.naming import named
from flows.options import Options, waiting
from officeops.logs.audit import Finding, outdated
from officeops.logs.report import LogReport
from officeops.logs.retention import DayDecision
from tasks import logs as steps
from tasks.account import accounted
from tasks.site import at_work


class LogOptions(Options):
    """The week's work on logs."""

    dry_run: bool = Field(
        False, description="Only say which logs are kept otherwise than the runbook says, and which exported days would go."
    )
    fix: bool = Field(False, description="Make anew what has old log options: rolled services without an interruption, others with one.")
    days: float = Field(7, gt=0, description="Days that the report is about.")
    wait_minutes: float = waiting()


class FixOptions(Options):
    """Log options."""

    wait_minutes: float = waiting()


@dataclass(frozen=True)
class LogWeek:
    """What was found. done: what was made anew. report: none in a dry run. retention: decisions, carried out but in a dry run."""

    findings: list[Finding]
    retention: list[DayDecision] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    report: LogReport | None = None


@flow(
    name="log-rotation", flow_run_name=named("log rotation"), description="Logs audited, summed up, old ones removed.", persist_result=False
)
@accounted("log-rotation")
def log_rotation(options: LogOptions = LogOptions()) -> LogWeek:
    """What services print is exported by the watcher all the time; the rest is done here."""
    with at_work("log rotation", wait_minutes=options.wait_minutes) as site:
        findings, done = steps.audit(site), list[str]()
        if options.dry_run:
            decisions = steps.plan_retention(site)
            steps.report_plan(site, findings, decisions)
            return LogWeek(findings, decisions)
        if options.fix and outdated(findings):
            done = steps.fix(site, outdated(findings))
            findings = steps.audit(site)
        steps.export(site)
        report = steps.sum_up(site, options.days)
        decisions = steps.apply_retention(site)
        steps.report_week(site, findings, done, decisions, steps.merge_days(site))
    return LogWeek(findings, decisions, done, report)


@flow(name="log-fix", flow_run_name=named("log fix"), description="What has old log options is made anew.", persist_result=False)
@accounted("log-fix")
def log_fix(options: FixOptions = FixOptions()) -> LogWeek:
    """Only that, for the command line."""
    with at_work("log options", wait_minutes=options.wait_minutes) as site:
        done = steps.fix(site, outdated(steps.audit(site)))
        return LogWeek(steps.audit(site), done=done)
