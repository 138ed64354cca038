"""logs, log-export, log-audit, log-report: what services print."""

from __future__ import annotations

import re
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from officeops.errors import UsageError
from officeops.site import Site, open_site
from officeops_cli import console
from officeops_cli.options import Folder, Json, Offline, Wait

if TYPE_CHECKING:
    from officeops.logs.audit import Finding
    from officeops.stack.port import LogLine

_TAIL = 100
_POLL_S = 0.5
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(logs)
    app.command("log-export")(log_export)
    app.command("log-audit")(log_audit)
    app.command("log-report")(log_report)


def logs(
    services: Annotated[list[str] | None, typer.Argument(metavar="[SERVICE]...", help="Names of services; default: all.")] = None,
    since: Annotated[str | None, typer.Option(help="How long ago (90s, 10m, 2h, 7d), or a time such as 2026-03-01T08:00.")] = None,
    tail: Annotated[int | None, typer.Option(min=0, help="The last N lines; default: 100, all with --since.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is printed from now on.")] = False,
    grep: Annotated[str | None, typer.Option(help="Only lines that match this regular expression, in any case.")] = None,
    as_json: Json = False,
    folder: Folder = None,
) -> None:
    """What services printed, exported lines and live ones alike."""
    from officeops.logs.reading import Reader

    site, wanted = open_site(folder), services or []
    if follow and as_json:
        raise UsageError("--follow has no end, and --json prints one object.", todo="Leave one of them out.")
    reader = Reader(site, wanted, moment(site, since) if since else None, grep, lambda text: console.err.print(text, markup=False))
    found = reader.lines() if tail is None and since else reader.last(_TAIL if tail is None else tail)
    if as_json:
        lines = [{**asdict(line), "at": line.at.isoformat()} for line in found]
        names = wanted or list(site.config.runbook.services)
        console.print_json_object({"service": names[0] if len(names) == 1 else None, "services": names, "lines": lines})
        return
    width = 0 if len(wanted) == 1 else max(map(len, wanted or site.config.runbook.services))
    for line in found:
        _print(line, width)
    if follow:
        for line in reader.follow(lambda: time.sleep(_POLL_S)):
            _print(line, width)


def moment(site: Site, text: str) -> datetime:
    """The time that is meant, in the zone of TZ where it says none. Raises UsageError."""
    if found := _AGO.fullmatch(text.strip()):
        return site.clock() - timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no time.", todo="Say 90s, 10m, 2h, 7d, or 2026-03-01T08:00.") from error
    return (at if at.tzinfo else at.replace(tzinfo=site.config.settings.zone)).astimezone(UTC)


def _print(line: LogLine, width: int) -> None:
    """width: of the service's name; 0: none is shown."""
    typer.echo(f"{line.service:{width}} | {line.text}" if width else line.text)


def log_export(as_json: Json = False, folder: Folder = None) -> None:
    """Collects what services printed and stores it, as the watcher does every five minutes."""
    from officeops.logs.storing import export

    done = export(open_site(folder))
    gaps = [asdict(gap) for gap in done.collected.gaps]
    lines = sum(part.lines for part in done.collected.parts)
    if as_json:
        stored = [
            {"id": part.id, "service": part.service, "day": part.day, "lines": part.lines, "bytes": part.bytes} for part in done.stored
        ]
        console.print_json_object({"lines": lines, "stored": stored, "gaps": gaps, "troubles": done.troubles})
    else:
        console.out.print(f"{lines:,} new lines; {len(done.stored)} files stored, {console.size(sum(part.bytes for part in done.stored))}.")
        for gap in done.collected.gaps:
            console.err.print(f"[yellow]![/] {gap.service}: lines after {gap.after} may be missing: {gap.why}", soft_wrap=True)
        for name, why in done.troubles.items():
            console.err.print(f"[red]✗[/] {name}: {why}", soft_wrap=True)
    if done.troubles:
        raise typer.Exit(1)


def log_audit(
    fix: Annotated[bool, typer.Option("--fix", help="Make anew what has old options; rolled services without an interruption.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --fix: only say what would be made anew.")] = False,
    as_json: Json = False,
    offline: Offline = False,
    wait: Wait = 0,
    folder: Folder = None,
) -> None:
    """How every service's log is kept, against the runbook. Exit status 1 when something is not as it should be."""
    from officeops.logs.audit import audit, outdated

    site, done = open_site(folder), list[str]()
    findings = audit(site)
    if fix and not dry_run and outdated(findings):
        from officeops_cli.runs import recorded

        with recorded(site.config, offline=offline, wait_minutes=wait):
            from flows.logs import FixOptions, log_fix

            fixed = log_fix(FixOptions(wait_minutes=wait))
        findings, done = fixed.findings, fixed.done
    would = outdated(findings) if fix and dry_run else []
    wrong = [one for one in findings if one.verdict != "ok"]
    if as_json:
        console.print_json_object({"ok": not wrong, "logs": [asdict(one) for one in findings], "done": done, "would_make_anew": would})
    else:
        _show(findings, done)
        if would:
            console.out.print(f"Would be made anew: {', '.join(would)}.")
    if wrong:
        raise typer.Exit(1)


def _show(findings: list[Finding], done: list[str]) -> None:
    from rich.table import Table

    table = Table()
    for heading in ("service", "of", "driver", "largest file", "files", ""):
        table.add_column(heading)
    for one in findings:
        size = "no limit" if one.max_bytes is None else f"{one.max_bytes / (1 << 20):g} MiB"
        note = "[green]✓[/]" if one.verdict == "ok" else f"[red]{one.verdict}[/]: {one.why}"
        table.add_row(one.service, one.name, one.driver, size, str(one.files or "no limit"), note)
    console.out.print(table if findings else "Nothing runs.")
    for text in done:
        console.out.print(f"[green]✓[/] {text}")


def log_report(
    days: Annotated[float, typer.Option(min=0.01, help="How far back.")] = 7,
    last: Annotated[bool, typer.Option("--last", help="The last weekly one, instead of a new one.")] = False,
    as_json: Json = False,
    folder: Folder = None,
) -> None:
    """Errors and warnings by service and kind, what is new, the slowest requests: as the weekly run reports them, in Markdown."""
    from officeops.logs.page import page
    from officeops.logs.report import last_report, report

    site = open_site(folder)
    found = last_report(site) if last else report(site, days=days)
    if found is None:
        raise UsageError("There was no weekly report yet.", todo="`officeops log-report` makes one now.")
    if as_json:
        console.print_json_object(found.as_object())
    else:
        console.out.print(page(found, site.config.settings.zone), markup=False, soft_wrap=True)
