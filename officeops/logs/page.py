"""The week's logs as a page of Markdown, for the Prefect UI and for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from officeops.clock import parse_iso

if TYPE_CHECKING:
    from officeops.logs.audit import Finding
    from officeops.logs.merging import Merged
    from officeops.logs.report import LogReport, Template
    from officeops.logs.retention import DayDecision


def page(found: LogReport, zone: ZoneInfo) -> str:
    """What was printed."""
    lines = [f"## Logs from {_local(found.since, zone)} to {_local(found.until, zone)}", ""]
    lines += [f"- **Lines may be missing**: {gap}" for gap in found.gaps]
    lines += [f"- **Not read**: {trouble}" for trouble in found.troubles]
    lines += ["", "| service | lines | errors | warnings | kinds that are new |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {one.service} | {one.lines:,} | {one.errors:,} | {one.warnings:,} | {sum(each.new for each in one.templates):,} |"
        for one in found.services
    ]
    for one in found.services:
        if one.templates:
            lines += ["", f"### {one.service}", "", "| | level | times | first | last | what |", "|---|---|--:|---|---|---|"]
            lines += [_row(each, zone) for each in one.templates]
    if found.slowest:
        lines += ["", "### Slowest requests", "", "| service | what | times | mean | slowest |", "|---|---|--:|--:|--:|"]
        lines += [
            f"| {one.service} | `{cell(one.what)}` | {one.count:,} | {1000 * one.mean_s:.0f} ms | {1000 * one.slowest_s:.0f} ms |"
            for one in found.slowest
        ]
    return "\n".join(lines) + "\n"


def audit_page(findings: Sequence[Finding], done: Sequence[str]) -> str:
    """How logs are kept."""
    lines = ["### How logs are kept", "", "| service | of | driver | largest file | files | |", "|---|---|---|--:|--:|---|"]
    for one in findings:
        size = "no limit" if one.max_bytes is None else f"{one.max_bytes / (1 << 20):g} MiB"
        note = "" if one.verdict == "ok" else f"**{one.verdict}**: {cell(one.why)}"
        lines.append(f"| {one.service} | {one.name} | {one.driver} | {size} | {one.files or 'no limit'} | {note} |")
    lines += ["", *(f"- {text}" for text in done)]
    if not done and any(one.verdict == "outdated" for one in findings):
        lines.append("`officeops log-audit --fix` makes what is outdated anew.")
    return "\n".join(lines) + "\n"


def retention_page(decisions: Sequence[DayDecision], merged: Merged | None = None) -> str:
    """Which days go, what the others take, and what was merged."""
    kept, gone = [one for one in decisions if one.keep], [one for one in decisions if not one.keep]
    lines = ["### Exported logs", "", f"{len(kept)} days of services, {sum(one.bytes for one in kept) / 1e6:,.1f} MB in each target."]
    lines += [f"- removed: {one.service} of {one.day}, {one.lines:,} lines ({one.reason})" for one in gone]
    if merged is not None:
        lines += [f"- {len(merged.parts)} days of logs are one file each now; {merged.gone} small ones went."] if merged.gone else []
        lines += [f"- not merged: {cell(trouble)}" for trouble in merged.troubles]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """For a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ").replace("`", "'")


def _row(one: Template, zone: ZoneInfo) -> str:
    times = f"{_local(one.first_at, zone)} | {_local(one.last_at, zone)}"
    return f"| {'**new**' if one.new else ''} | {one.level} | {one.count:,} | {times} | `{cell(one.text)}` |"


def _local(at: str, zone: ZoneInfo) -> str:
    moment: datetime = parse_iso(at)
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"
