"""watch: the watcher, in the foreground. `officeops up` keeps it running."""

from __future__ import annotations

from typing import Annotated

import typer

from officeops.site import open_site
from officeops_cli import console
from officeops_cli.options import Folder, Json


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(watch)


def watch(
    once: Annotated[bool, typer.Option("--once", help="One round, then the end.")] = False,
    as_json: Json = False,
    folder: Folder = None,
) -> None:
    """Asks everything each minute, tells people what is wrong, and has it mended. Runs until it is stopped."""
    from officeops.watching.making import watcher
    from officeops.watching.watcher import watch as run

    made = watcher(open_site(folder))
    if not once:
        run(made)
        return
    found = made.round()
    if found is None:
        raise typer.Exit(1)
    if as_json:
        from officeops_cli.checks import as_object

        console.print_json_object(as_object(found))
    else:
        console.err.print(f"{len(found.judged)} asked, {len(found.wrong)} wrong")
