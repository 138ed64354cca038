"""alerts, ack, silence."""

from __future__ import annotations

import getpass
import socket
from typing import TYPE_CHECKING, Annotated, Any

import typer

from officeops.clock import iso, parse_iso
from officeops.errors import UsageError
from officeops.site import Site, open_site
from officeops_cli import console
from officeops_cli.options import Folder, Json

if TYPE_CHECKING:
    from officeops.alerts.engine import Alert
    from officeops.alerts.quiet import Silence

_LATEST = 50


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(alerts)
    app.command()(ack)
    app.command()(silence)


def alerts(
    history: Annotated[bool, typer.Option("--history", help="Also those that are over.")] = False,
    as_json: Json = False,
    folder: Folder = None,
) -> None:
    """What people were told of and is not over, what is suspected, and what nobody is told of now."""
    site = open_site(folder)
    found = site.ledger.alerts(open_only=not history, limit=_LATEST if history else None)
    silences = site.ledger.silences(site.clock())
    if as_json:
        console.print_json_object({"alerts": [_alert(one) for one in found], "silences": [vars(one) for one in silences]})
    else:
        _show(site, found, silences)


def ack(
    name: Annotated[str, typer.Argument(help="Name of an alert.")],
    as_json: Json = False,
    folder: Folder = None,
) -> None:
    """You take care of it: everybody is told so, and nobody is reminded any more."""
    from officeops.alerts.board import acknowledge
    from officeops.alerts.telling import tell
    from officeops.watching.events import changed, publish

    site = open_site(folder)
    change = acknowledge(site, name, _who())
    tell(site, [change])
    publish(site, [changed(site, change)])
    if as_json:
        console.print_json_object(_alert(change.alert))
    else:
        console.err.print(f"[green]✓[/] {name} is acknowledged by {change.alert.by}.")


def silence(
    pattern: Annotated[str, typer.Argument(help="Name of an alert, with * for any text; with --end: also a silence's id.")],
    hours: Annotated[float, typer.Option("--for", metavar="HOURS", min=0.01, max=24 * 31, help="How long nobody is told.")] = 1,
    why: Annotated[str, typer.Option(help="The reason, for others.")] = "",
    end: Annotated[bool, typer.Option("--end", help="It is over now.")] = False,
    as_json: Json = False,
    folder: Folder = None,
) -> None:
    """Nobody is told of an alert for a while. It is still watched, and told afterwards if it is not over by then."""
    from officeops.alerts.board import end_silence
    from officeops.alerts.board import silence as begin

    site = open_site(folder)
    if not pattern.strip():
        raise UsageError("A silence needs the name of an alert.", todo="`officeops alerts` lists them; `*` stands for all.")
    made = end_silence(site, pattern) if end else begin(site, pattern, hours, _who(), why)
    if as_json:
        console.print_json_object(vars(made))
    else:
        until = f"{parse_iso(made.until).astimezone(site.config.settings.zone):%Y-%m-%d %H:%M}"
        console.err.print(f"[green]✓[/] {made.pattern} is silent until {until} ({made.id}).")


def _show(site: Site, found: list[Alert], silences: list[Silence]) -> None:
    from rich.markup import escape
    from rich.table import Table

    zone = site.config.settings.zone
    table = Table(title=f"{site.config.runbook.title}: alerts", title_justify="left")
    for heading in ("state", "name", "since", "over", "told", "role", ""):
        table.add_column(heading)
    for one in found:
        text = f"explained by {one.cause}" if one.cause else one.text
        table.add_row(
            f"{one.phase} ({one.by})" if one.by else one.phase, one.name,
            *(f"{at.astimezone(zone):%m-%d %H:%M}" if at else "" for at in (one.since, one.resolved_at, one.told_at)), one.role, escape(text),
        )  # fmt: skip
    console.out.print(table if found else "There are no alerts.")
    for silent in silences:
        until = f"{parse_iso(silent.until).astimezone(zone):%m-%d %H:%M}"
        console.out.print(f"silent until {until}: {silent.pattern} ({silent.id}, {silent.who}) {silent.why}", markup=False)


def _alert(one: Alert) -> dict[str, Any]:
    return {key: iso(value) if hasattr(value, "astimezone") else value for key, value in vars(one).items()}


def _who() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # an account without a name
        return socket.gethostname()
