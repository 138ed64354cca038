"""restore, drill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from officeops.errors import UsageError
from officeops.site import open_site
from officeops_cli import console
from officeops_cli.asking import confirm
from officeops_cli.options import Folder, Json, Offline, Wait, Yes

if TYPE_CHECKING:
    from flows.restore import Restored


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(restore)
    app.command()(drill)


def restore(
    backup: Annotated[
        str | None,
        typer.Argument(
            help="Id of a backup, `latest`, `latest:volumes`, `latest:basebackup`, or a dump file (.sql, .dump; .gz, .zst, .age)."
        ),
    ] = None,
    volume: Annotated[list[str] | None, typer.Option(help="Of a backup of volumes, only this one (may be given again).")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="What the last restore set aside becomes live again.")] = False,
    target: Annotated[str | None, typer.Option(help="Take the backup from this target.")] = None,
    identity: Annotated[Path | None, typer.Option(help="File with the age secret key.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Restore beside what is live and compare; swap nothing.")] = False,
    yes: Yes = False,
    as_json: Json = False,
    offline: Offline = False,
    wait: Wait = 0,
    folder: Folder = None,
) -> None:
    """Restores beside what is live (a database, or volumes), compares, and swaps. What was live stays; --undo swaps back."""
    from officeops_cli.runs import recorded

    if (backup is None) != undo:
        raise UsageError("Name a backup to restore, or --undo.", todo="`officeops backups` lists them.")
    site = open_site(folder)
    if not dry_run:
        confirm(
            f"{'Undo the last restore of' if undo else 'Replace the live data of'} {site.config.runbook.title}{'' if undo else f' by {backup}'}?",
            yes=yes,
        )
    with recorded(site.config, offline=offline, wait_minutes=wait):
        from flows import restore as flow

        if undo:
            done = flow.restore_undo(flow.UndoOptions(wait_minutes=wait))
        else:
            done = flow.restore(
                flow.RestoreOptions(
                    backup=str(backup),
                    target=target,
                    identity=identity.absolute() if identity else None,
                    volumes=volume or [],
                    dry_run=dry_run,
                    wait_minutes=wait,
                )
            )
    if undo and not as_json:
        kept = done.previous or ", ".join(done.previous_volumes.values())
        console.out.print(f"[green]✓[/] {done.source} is live again, in {console.duration(done.seconds)}.")
        console.out.print(f"  What it replaces is kept as {kept}; `officeops restore --undo` swaps once more.")
    else:
        _show(done, as_json=as_json)


def drill(
    backup: Annotated[str, typer.Argument(help="Id of a backup, `latest`, `latest:volumes` or `latest:basebackup`.")] = "latest",
    target: Annotated[str | None, typer.Option(help="Take the backup from this target.")] = None,
    as_json: Json = False,
    offline: Offline = False,
    wait: Wait = 0,
    folder: Folder = None,
) -> None:
    """Proves a backup: restored into a scratch database or new volumes, compared, checked, dropped."""
    from officeops_cli.runs import recorded

    site = open_site(folder)
    with recorded(site.config, offline=offline, wait_minutes=wait):
        from flows.restore import DrillOptions, restore_drill

        done = restore_drill(DrillOptions(backup=backup, target=target, wait_minutes=wait))
    _show(done, as_json=as_json)


def _show(done: Restored, *, as_json: bool) -> None:
    if as_json:
        console.print_json_object(
            {
                "id": done.source,
                "ok": True,
                "tables": {
                    name: {"rows": check.rows, "expected_rows": check.expected, "match": check.match} for name, check in done.tables.items()
                },
                "volumes": {
                    name: {"files": check.files, "bytes": check.bytes, "match": True, "owners": check.owners}
                    for name, check in done.volumes.items()
                },
                "seconds": round(done.seconds, 3),
                "previous_database": done.previous,
                "previous_volumes": dict(done.previous_volumes),
            }
        )
        return
    if done.volumes:
        return _show_volumes(done)
    rows = sum(check.rows for check in done.tables.values())
    equal = all(check.expected is not None for check in done.tables.values()) and done.tables
    console.out.print(
        f"[green]✓[/] {done.source} in {console.duration(done.seconds)}: {len(done.tables)} tables, {rows:,} rows{', fingerprints equal' if equal else ''}"
    )
    if done.previous:
        console.out.print(f"  The previous database is kept as {done.previous}; `officeops restore --undo` swaps back.")


def _show_volumes(done: Restored) -> None:
    console.out.print(f"[green]✓[/] {done.source} in {console.duration(done.seconds)}: every entry of its volumes equal")
    for name, check in done.volumes.items():
        owners = "" if check.owners else " (all owned by this account: it may not give files away)"
        console.out.print(f"  {name}: {check.files:,} files, {console.size(check.bytes)}{owners}")
    for name, previous in done.previous_volumes.items():
        console.out.print(f"  What was in {name} is kept as {previous}; `officeops restore --undo` swaps back.")
