"""up, down, status: the stack and its control plane."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from officeops.clock import iso, parse_iso
from officeops.config import find_folder
from officeops.settings.generate import ensure_env
from officeops.site import Site, open_site
from officeops.stack import Release
from officeops.stack.port import short
from officeops_cli import console
from officeops_cli.options import Folder, Json


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command()(volumes)
    app.command()(ui)
    app.command("shell-db")(shell_db)


def up(
    ref: Annotated[str | None, typer.Argument(help="Commit, tag or branch to run; default: what ran last, or the last commit.")] = None,
    folder: Folder = None,
    control_plane: Annotated[bool, typer.Option(help="Also the Prefect server, a worker and the deployments.")] = True,
    as_json: Json = False,
) -> None:
    """Starts everything and waits until it is healthy. Makes .env, with secrets of its own, when there is none."""
    generated = ensure_env(find_folder(folder))
    if generated:
        console.err.print(f"Generated in .env: {', '.join(generated)}")
    began = time.monotonic()
    done = start(open_site(folder), ref, with_control_plane=control_plane)
    seconds = time.monotonic() - began
    if as_json:
        parts = {name: round(took, 3) for name, took in done.parts.items()}
        console.print_json_object({"release": done.release.sha, "seconds": round(seconds, 3), "parts": parts, "changes": done.changes})
    else:
        took = ", ".join(f"{name} {console.duration(part)}" for name, part in done.parts.items())
        console.err.print(f"  {console.duration(seconds)} in all: {took}.", soft_wrap=True)


@dataclass(frozen=True)
class Up:
    """What a start did. parts: seconds that each took; Prefect's run beside the stack's. changes: what was changed on the Prefect server."""

    release: Release
    parts: dict[str, float]
    changes: list[str]


def start(site: Site, ref: str | None, *, with_control_plane: bool) -> Up:
    """The stack and the control plane, at the same time: neither needs the other."""
    from deployments import control_plane as plane
    from officeops.releases.records import build
    from officeops.releases.rollout import bring_up

    times, started = plane.Started(), plane.Started()
    with site.locked("up"), console.progress_bars(), ThreadPoolExecutor(1) as pool:
        context = copy_context()
        prefect = pool.submit(context.run, plane.up, site.config) if with_control_plane else None
        with times.part("release"):
            last = site.stack.deployed()
            release = build(site, ref or (last.sha if last else "HEAD"))
        if left_out := site.stack.uncommitted():
            console.err.print(f"[yellow]![/] {left_out} uncommitted files are not in the release: a release is a commit.")
        with times.part("stack"):
            for trouble in bring_up(site, release):
                console.err.print(
                    f"[yellow]![/] What an earlier run left could not be put in order: {trouble}", markup=True, soft_wrap=True
                )
        if prefect:
            started = prefect.result()
    console.err.print(f"[green]✓[/] {site.config.runbook.title} runs on release {short(release.sha)} at {address(site)}")
    for change in started.changes:
        console.err.print(f"  {change}", markup=False, highlight=False)
    if prefect:
        console.err.print(f"[green]✓[/] Prefect answers at {plane.ui_url(site.config.settings)} (`officeops ui` says how to log in)")
    return Up(release, {**times.parts, **{f"Prefect's {part}": seconds for part, seconds in started.parts.items()}}, started.changes)


def down(folder: Folder = None) -> None:
    """Stops everything; data stays."""
    from deployments import control_plane as plane
    from officeops.logs.collecting import keep_last_words

    site = open_site(folder)
    with site.locked("down"):
        plane.down(site.config)
        site.stack.down(last=lambda: keep_last_words(site))
    console.err.print("[green]✓[/] Nothing of it runs any more. The data is kept.")


def status(
    usage: Annotated[bool, typer.Option("--usage", help="Also what each service takes of processor and memory now.")] = False,
    as_json: Json = False,
    folder: Folder = None,
) -> None:
    """What runs, how it is, when it was backed up."""
    site = open_site(folder)
    found = collect(site)
    if usage:
        found["usage"] = [{"service": one.service, "cpu": round(one.cpu, 3), "memory_bytes": one.memory} for one in site.stack.usage()]
    if as_json:
        console.print_json_object(found)
    else:
        _show(site, found)


def collect(site: Site) -> dict[str, Any]:
    """The contract's object."""
    from officeops.alerts.standing import standing
    from officeops.backups.catalogue import entries, of_the_database
    from officeops.postgres.facts import database_facts

    services, known = site.stack.services(), of_the_database(entries(site))
    newest = known[0] if known else None
    database, deployed = database_facts(site), site.stack.deployed()
    release = None
    if deployed:
        revision = database["revision"] if database else None
        release = {"sha": deployed.sha, "revision": revision, "deployed_at": iso(deployed.at), "colour": deployed.colour}
    return {
        "stack": site.name,
        "release": release,
        "services": [
            {
                "name": one.name,
                "state": one.state,
                "health": one.health,
                "restarts": one.restarts,
                "release": one.release,
                "detail": one.detail,
            }
            for one in services
        ],
        "database": database,
        "last_backup": {"id": newest.id, "at": newest.at, "verified": newest.verified} if newest else None,
        "alerts": [asdict(alert) for alert in standing(site, services, known)],
    }


def address(site: Site) -> str:
    """Where people find the application."""
    settings = site.config.settings
    named = settings.site_address.split(",")[0].strip() if settings.officeops_stack == "compose" and settings.site_address else ""
    if not named:
        return f"http://localhost:{settings.http_port}"
    return named if "://" in named else f"https://{named}"


def _show(site: Site, found: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=f"{site.config.runbook.title} — {address(site)}", title_justify="left")
    taken = {one["service"]: one for one in found.get("usage", ())}
    for heading in ("service", "state", "health", "restarts", "release", *(("cpu", "memory") if taken else ()), ""):
        table.add_column(heading)
    colours = {"healthy": "green", "unhealthy": "red", "running": "green", "stopped": "yellow", "failed": "red"}
    for service in found["services"]:
        marked = [f"[{colours.get(service[key], 'white')}]{service[key]}[/]" for key in ("state", "health")]
        table.add_row(
            service["name"], *marked, str(service["restarts"]), short(service["release"] or ""),
            *(_usage(taken.get(service["name"])) if taken else ()), service["detail"],
        )  # fmt: skip
    console.out.print(table)
    last, database = found["last_backup"], found["database"]
    if database:
        console.out.print(f"database {console.size(database['size_bytes'])}, schema revision {database['revision']}")
    console.out.print(
        f"last backup {last['id']} ({'verified' if last['verified'] else 'NOT verified'})" if last else "no backup yet: `officeops backup`"
    )
    for alert in found["alerts"]:
        console.out.print(f"[red]![/] {alert['text']}", soft_wrap=True)


def _usage(one: dict[str, Any] | None) -> tuple[str, str]:
    return (f"{100 * one['cpu']:.0f} %", console.size(one["memory_bytes"])) if one else ("", "")


def volumes(as_json: Json = False, folder: Folder = None) -> None:
    """What is kept outside the database's rows: size, who uses it, when it was backed up."""
    from officeops.volumes.overview import overview

    site = open_site(folder)
    found = overview(site)
    if as_json:
        console.print_json_object({"volumes": [asdict(one) for one in found]})
        return
    from rich.table import Table

    table = Table()
    for heading in ("volume", "used by", "size", "last backup", ""):
        table.add_column(heading)
    zone = site.config.settings.zone
    for one in found:
        last = one.last_backup
        when = f"{parse_iso(last['at']).astimezone(zone):%Y-%m-%d %H:%M} ({last['id']})" if last else "[yellow]never[/]"
        note = "the database's: --kind basebackup" if one.database else ""
        table.add_row(one.name, ", ".join(one.services), console.size(one.bytes or 0), when, note)
    console.out.print(table if found else "There are no volumes.")


def ui(folder: Folder = None) -> None:
    """Where the Prefect UI is, and what it asks for."""
    from deployments.control_plane import front_door_url, ui_url

    settings = open_site(folder).config.settings
    places = dict.fromkeys((ui_url(settings), front_door_url(settings)))
    console.out.print("\n".join(places), soft_wrap=True)
    console.out.print(f"authentication string: {settings.prefect_auth_string.get_secret_value()}", soft_wrap=True)


def shell_db(folder: Folder = None) -> None:
    """psql in the application's database."""
    from officeops.postgres.tools import connection_string

    site = open_site(folder)
    command = site.stack.tool(["psql", "-d", connection_string(site.config.settings.postgres_db)], terminal=sys.stdin.isatty())
    os.execvpe(command.argv[0], command.argv, {**os.environ, **command.environment()})  # noqa: S606 - it takes over the terminal
