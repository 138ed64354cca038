"""What the watcher found, published."""

from __future__ import annotations

from datetime import timedelta

from officeops.clock import iso
from officeops.errors import OfficeOpsError
from officeops.probes.trends import sparkline
from officeops.probes.words import shown
from officeops.site import Site
from officeops.watching.day import Line, day
from tasks import reporting
from tasks.steps import step

_ROUNDS_MISSED = 5


@step("publish the last day")
def publish_values(site: Site) -> None:
    """A line for each value that has a threshold: now, least, most, and its course over the day."""
    rows = [_row(one) for one in day(site)]
    reporting.table("watch", site.name, rows, description="The last day: values against their thresholds")


@step("publish the alerts")
def publish_alerts(site: Site) -> None:
    """Those that are not over, and the last incidents."""
    alerts = [
        {"alert": one.name, "state": one.phase, "since": iso(one.since), "what": one.text, "explained by": one.cause or ""}
        for one in site.ledger.alerts()
    ]
    reporting.table("alerts", site.name, alerts, description=f"Open alerts: {len(alerts)}")
    incidents = [
        {
            "at": one.started_at,
            "what": one.probe,
            "remedy": one.remedy,
            "outcome": one.outcome or "goes on",
            "steps": ", ".join(one.actions),
        }
        for one in site.ledger.incidents(limit=50)
    ]
    reporting.table("incidents", site.name, incidents, description="The last incidents")


@step("see whether the watcher watches")
def require_watcher(site: Site) -> None:
    """Raises OfficeOpsError when it has missed several rounds."""
    allowed = timedelta(seconds=_ROUNDS_MISSED * site.config.runbook.probes.every_seconds)
    if not site.ledger.samples(since=site.clock() - allowed):
        raise OfficeOpsError(
            f"The watcher has not done a round for {allowed.total_seconds() / 60:.0f} minutes.",
            state="Nothing is watched.",
            todo="`officeops up` starts it again; its log says why it ended.",
        )


def _row(one: Line) -> dict[str, str]:
    return {
        "what": one.name,
        "now": shown(one.last, one.unit),
        "threshold": one.threshold,
        "least": shown(one.least, one.unit),
        "most": shown(one.most, one.unit),
        "the last day": sparkline(one.values),
        "wrong": f"{one.wrong} of {one.count} rounds" if one.wrong else "",
    }
