"""check: everything asked once, now."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from officeops.site import Site, open_site
from officeops_cli import console
from officeops_cli.options import Folder, Json

if TYPE_CHECKING:
    from officeops.probes.rounds import Round


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(check)


def check(
    everything: Annotated[bool, typer.Option("--all", help="Also what is only measured and has no threshold.")] = False,
    as_json: Json = False,
    folder: Folder = None,
) -> None:
    """Asks everything once: services, addresses, database, host, backups, logs. Exit status 1 when something is wrong."""
    from officeops.probes.asking import Asker
    from officeops.probes.logs import Look
    from officeops.probes.rounds import ask

    site = open_site(folder)
    found = ask(site, Asker(), Look(site.home / "watch", keep=False))
    site.ledger.record_sample(found.sample, keep_since=found.at - timedelta(hours=site.config.runbook.probes.keep_hours))
    if as_json:
        console.print_json_object(as_object(found))
    else:
        _show(site, found, everything=everything)
    if found.wrong:
        raise typer.Exit(1)


def as_object(found: Round) -> dict[str, Any]:
    """The contract's object."""
    from officeops.probes.trends import since, trend

    return {
        "ok": not found.wrong,
        "at": found.sample.at,
        "probes": [
            {
                "name": one.reading.name,
                "ok": one.ok,
                "value": one.reading.value,
                "unit": one.rule.unit,
                "threshold": one.limit,
                "detail": one.reading.detail,
                "trend": trend(one, found.history),
                "since": since(one, found.history),
            }
            for one in found.judged
        ],
    }


def _show(site: Site, found: Round, *, everything: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from officeops.clock import parse_iso
    from officeops.probes.trends import arrow, since
    from officeops.probes.words import shown, threshold

    table = Table(title=f"{site.config.runbook.title}: {len(found.wrong) or 'nothing'} wrong", title_justify="left")
    for heading in ("", "name", "value", "threshold", "trend", "since", ""):
        table.add_column(heading)
    listed = [one for one in found.judged if everything or not one.ok or (one.limit is not None and one.reading.measure != "asked")]
    for one in sorted(listed, key=lambda one: one.ok):
        began = since(one, found.history)
        table.add_row(
            "[green]✓[/]" if one.ok else "[red]✗[/]",
            one.reading.name,
            shown(one.reading.value, one.rule.unit),
            threshold(one),
            arrow(one, found.history),
            f"{parse_iso(began).astimezone(site.config.settings.zone):%m-%d %H:%M}" if began else "",
            escape(one.reading.detail[:120]),
        )
    console.out.print(table)
