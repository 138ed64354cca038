"""The Artifacts page as a dashboard: the newest of each key says how the stack, its backups, releases, alerts and disk are now."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any

from prefect.artifacts import create_image_artifact
from prefect.logging import get_run_logger

from officeops import chart
from officeops.backups.catalogue import Entry, entries, of_the_database
from officeops.clock import parse_iso
from officeops.postgres.facts import database_facts
from officeops.probes.host import disk_readings, file_systems
from officeops.probes.rules import rule_of
from officeops.site import Site
from officeops.stack.port import ServiceStatus, short
from tasks import reporting
from tasks.logs import show_summary
from tasks.releases import show_releases
from tasks.watching import publish_alerts

_SHOWN = timedelta(days=90)  # as far as the watcher keeps values (probes.keep_hours)
_POINTS = 300


def publish(site: Site) -> None:
    """Everything anew. What cannot be asked is logged and leaves the others."""
    for show in (show_stack, publish_alerts.fn, show_backups, show_releases, show_approvals, show_disk, show_summary):
        try:
            show(site)
        except Exception as trouble:  # noqa: BLE001 - one part that cannot be asked must not hide the others
            get_run_logger().warning("%s: not shown: %s: %s", show.__name__, type(trouble).__name__, trouble)


def show_stack(site: Site) -> None:
    """What runs, and how it is."""
    services, known = site.stack.services(), entries(site)
    well = sum(one.state == "running" and one.health in ("healthy", "unknown") for one in services)
    summary = f"{site.config.runbook.title}: {well} of {len(services)} services are well"
    reporting.report("stack", site.name, stack_page(site, services, known), description=summary)


def stack_page(site: Site, services: list[ServiceStatus], known: list[Entry]) -> str:
    """The stack as Markdown."""
    deployed, database = site.stack.deployed(), database_facts(site)
    newest = next(iter(of_the_database(known)), None)
    facts = {
        "release": f"`{short(deployed.sha)}` ({deployed.colour}), since {_local(site, deployed.at)}" if deployed else "none yet",
        "database": f"{database['size_bytes'] / 1e6:,.1f} MB, revision {database['revision']}"
        if database
        else "not asked: it does not answer",
        "last backup": f"`{newest.id}`, {'verified' if newest.verified else '**not verified**'}" if newest else "**none yet**",
        "host": socket.gethostname(),
    }
    rows = [
        f"| {one.name} | {one.state} | {one.health} | {one.restarts} | {short(one.release or '')} | {reporting.cell(one.detail)} |"
        for one in services
    ]
    return "\n".join(
        [
            f"## {site.config.runbook.title}", f"As of {_local(site)}.", "", *reporting.facts(facts), "",
            "| service | state | health | restarts | release | |", "|---|---|---|---|---|---|", *rows,
        ]
    )  # fmt: skip


def show_backups(site: Site) -> None:
    """The newest backups, with what proved them."""
    rows = [
        {
            "backup": one.id, "at": _local(site, parse_iso(one.at)), "kind": one.kind, "bytes": one.bytes,
            "verified": "yes" if one.verified else "NO", "restored in a drill": _local(site, parse_iso(one.drilled_at)) if one.drilled_at else "never",
            "targets": len(one.copies), "kept for ever": "yes" if one.pinned else "",
        }
        for one in entries(site)[:30]
    ]  # fmt: skip
    reporting.table("backups", site.name, rows, description="The newest backups, and what proved them")


def show_approvals(site: Site) -> None:
    """Who allowed what; nothing when nobody was ever asked."""
    rows = [
        {
            "asked": _local(site, parse_iso(one.asked_at)), "action": one.action, "answer": one.decision or "none (yet)",
            "who": one.who or "", "why": one.why or "", "what": ", ".join(f"{key} {value}" for key, value in one.terms.items() if key != "action"),
        }
        for one in site.ledger.approvals()[:30]
    ]  # fmt: skip
    if rows:
        reporting.table("approvals", site.name, rows, description="What people were asked, and what they said")


def show_disk(site: Site) -> None:
    """The course of the fullest disk as the watcher measured it, and as it is now."""
    now = site.clock()
    readings = [one for path in file_systems(site) for one in disk_readings(path) if one.measure == "disk"]
    fullest = max(readings, key=lambda one: one.value or 0.0)
    rounds = site.ledger.samples(since=now - _SHOWN)
    known = [(one.moment, 100 * value) for one in rounds if (value := one.values.get(fullest.name)) is not None]
    points = [*known[:: max(1, len(known) // _POINTS)], (now, 100 * (fullest.value or 0.0))]
    limit = 100 * (rule_of("disk", fullest.name, site.config.runbook.alerts.rules).limit or 1.0)
    title = f"Disk {fullest.detail} on {socket.gethostname()}: used, and the limit of the alert (dashed)"
    image = chart.over_time(title, points, unit="%", zone=site.config.settings.zone, limit=limit)
    create_image_artifact(chart.data_uri(image), key=reporting.key("disk", site.name), description=f"Disk: {points[-1][1]:.0f} % used")


def _local(site: Site, at: Any = None) -> str:
    return f"{(at or site.clock()).astimezone(site.config.settings.zone):%Y-%m-%d %H:%M}"
