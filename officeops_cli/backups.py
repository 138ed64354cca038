"""backup, backups, verify, pin, unpin, prune, catalog."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from officeops.errors import UsageError
from officeops.site import open_site
from officeops_cli import console
from officeops_cli.options import Folder, Json, Offline, Wait

if TYPE_CHECKING:
    from officeops.backups.making import Report
    from officeops.backups.manifest import DatabaseManifest, VolumeManifest


class Format(StrEnum):
    """What a backup is made as."""

    dump = "dump"
    sql_gz = "sql.gz"


class Kind(StrEnum):
    """What is backed up."""

    database = "database"
    volumes = "volumes"
    basebackup = "basebackup"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (backup, backups, verify, pin, unpin, prune):
        app.command()(command)
    catalog = typer.Typer(help="The index of backups.", no_args_is_help=True)
    catalog.command("rebuild")(rebuild)
    app.add_typer(catalog, name="catalog")


def backup(
    kind: Annotated[
        Kind,
        typer.Option(
            help="database: a dump. volumes: tars of what is kept outside of it. basebackup: the database server's files, while it runs."
        ),
    ] = Kind.database,
    form: Annotated[
        Format | None, typer.Option("--format", help="Of a database: dump restores in parallel, sql.gz is a script that people can read.")
    ] = None,
    volume: Annotated[
        list[str] | None, typer.Option(help="Of volumes, only this one (may be given again); default: all but the database's.")
    ] = None,
    as_json: Json = False,
    offline: Offline = False,
    wait: Wait = 0,
    folder: Folder = None,
) -> None:
    """Makes a backup now, reads it back from every target, applies retention."""
    from officeops_cli.runs import recorded

    _require_sense(kind, form, volume)
    site = open_site(folder)
    with recorded(site.config, offline=offline, wait_minutes=wait):
        report = _run(kind, form or Format.dump, volume or [], wait)
    if as_json:
        console.print_json_object(_as_json(report))
        return
    manifest = report.manifest
    console.out.print(f"[green]✓[/] {manifest.id}: {console.size(manifest.size)} in {console.duration(report.seconds)}, verified in")
    for target in report.outcomes:
        console.out.print(f"  {target}")
    for name, held in _volumes(manifest.model_dump(mode="json")).items():
        console.out.print(f"  {name}: {held['files']:,} files, {console.size(held['bytes'])}")
        for line in held["changed"]:
            console.err.print(f"[yellow]![/] {name}: {line}", markup=True, soft_wrap=True)


def _require_sense(kind: Kind, form: Format | None, volumes: list[str] | None) -> None:
    if form is not None and kind != Kind.database:
        raise UsageError(f"--format is for the database, not for --kind {kind}.")
    if volumes and kind == Kind.database:
        raise UsageError("--volume is for volumes.", todo="Add --kind volumes.")


def _run(kind: Kind, form: Format, volumes: list[str], wait: float) -> Report[DatabaseManifest] | Report[VolumeManifest]:
    from flows.backup import BackupOptions, VolumeBackupOptions, nightly_backup, volume_backup

    match kind:
        case Kind.database:
            return nightly_backup(BackupOptions(format=form.value, wait_minutes=wait))
        case _:
            return volume_backup(VolumeBackupOptions(kind=kind.value, volumes=volumes, wait_minutes=wait))


def _as_json(report: Report[DatabaseManifest] | Report[VolumeManifest]) -> dict[str, Any]:
    manifest = report.manifest
    objects = [
        {"target": target, "key": stored.key, "bytes": stored.bytes, "sha256": stored.sha256}
        for target in report.outcomes
        for stored in manifest.objects.values()
    ]
    return {
        "id": manifest.id,
        "kind": manifest.kind,
        "bytes": manifest.size,
        "seconds": round(report.seconds, 3),
        "objects": objects,
        "verified": report.verified,
        "volumes": _volumes(manifest.model_dump(mode="json")),
    }


def _volumes(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Of a manifest's volumes, what people and programs want to know; none in one of the database."""
    wanted = ("files", "bytes", "digest", "stopped", "changed")
    return {name: {key: held[key] for key in wanted} for name, held in manifest.get("volumes", {}).items()}


def backups(as_json: Json = False, folder: Folder = None) -> None:
    """Lists the backups that the ledger knows."""
    from officeops.backups.catalogue import entries

    site = open_site(folder)
    known = entries(site)
    if as_json:
        console.print_json_object(
            {
                "backups": [
                    {
                        "id": entry.id,
                        "kind": entry.kind,
                        "at": entry.at,
                        "bytes": entry.bytes,
                        "verified": entry.verified,
                        "drilled_at": entry.drilled_at,
                        "targets": [
                            {"target": copy.target, "verified_at": copy.verified_at, "problem": copy.problem} for copy in entry.copies
                        ],
                        "pinned": entry.pinned,
                    }
                    for entry in known
                ]
            }
        )
        return
    from rich.table import Table

    from officeops.clock import parse_iso

    table = Table()
    for heading in ("backup", "made", "kind", "size", "verified", "drilled"):
        table.add_column(heading, no_wrap=True)
    table.add_column("targets", overflow="fold")
    table.add_column("")
    zone = site.config.settings.zone
    for entry in known:
        drilled = f"{parse_iso(entry.drilled_at).astimezone(zone):%Y-%m-%d %H:%M}" if entry.drilled_at else "[yellow]never[/]"
        table.add_row(
            entry.id, f"{parse_iso(entry.at).astimezone(zone):%Y-%m-%d %H:%M}", entry.kind, console.size(entry.bytes),
            "[green]yes[/]" if entry.verified else "[red]no[/]", drilled, "\n".join(copy.target for copy in entry.copies), "pinned" if entry.pinned else "",
        )  # fmt: skip
    console.out.print(table if known else "No backups yet. `officeops backup` makes one; `officeops catalog rebuild` looks in the targets.")


def verify(
    backup_id: Annotated[str, typer.Argument(metavar="ID", help="A backup, or `latest`.")], as_json: Json = False, folder: Folder = None
) -> None:
    """Reads every object of a backup back from every target. (A drill restores it.)"""
    from officeops.backups import catalogue

    site = open_site(folder)
    began = site.clock()
    with console.progress_bars():
        checked = catalogue.verify(site, backup_id)
    entry = catalogue.find(site, backup_id)
    ok = all(one.problem is None for one in checked)
    if as_json:
        manifest = entry.copies[0].manifest
        tables = manifest.get("fingerprint", {}).get("tables", {})
        console.print_json_object(
            {
                "id": entry.id,
                "ok": ok,
                # Reading back proves the bytes; the rows are those that the manifest vouches for.
                "tables": {
                    name: {"rows": counted["rows"], "expected_rows": counted["rows"], "match": ok} for name, counted in tables.items()
                },
                "volumes": {name: {**held, "match": ok} for name, held in _volumes(manifest).items()},
                "seconds": round((site.clock() - began).total_seconds(), 3),
                "targets": [{"target": one.target, "problem": one.problem} for one in checked],
            }
        )
    else:
        for one in checked:
            console.out.print(f"[green]✓[/] {one.target}" if one.problem is None else f"[red]✗[/] {one.target}: {one.problem}")
    if not ok:
        raise typer.Exit(1)


def pin(backup_id: Annotated[str, typer.Argument(metavar="ID")], folder: Folder = None) -> None:
    """Keeps a backup for ever."""
    _pin(backup_id, folder, pinned=True)


def unpin(backup_id: Annotated[str, typer.Argument(metavar="ID")], folder: Folder = None) -> None:
    """Keeps a backup only for as long as the runbook says."""
    _pin(backup_id, folder, pinned=False)


def _pin(backup_id: str, folder: Any, *, pinned: bool) -> None:
    from officeops.backups import catalogue

    entry = catalogue.pin(open_site(folder), backup_id, pinned=pinned)
    console.out.print(f"[green]✓[/] {entry.id} is {'pinned' if pinned else 'no longer pinned'}.")


def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go, and why.")] = False,
    as_json: Json = False,
    folder: Folder = None,
) -> None:
    """Removes the backups that no rule of the runbook keeps."""
    from officeops.backups import prune as retention

    site = open_site(folder)
    if dry_run:
        plans = retention.plan(site)
    else:
        with site.locked("prune"):
            plans = retention.prune(site)
    if as_json:
        console.print_json_object(
            {
                "dry_run": dry_run,
                "targets": [
                    {
                        "target": plan.target,
                        "orphans": plan.orphans,
                        "backups": [{"id": one.id, "keep": one.keep, "reasons": one.reasons} for one in plan.decisions],
                    }
                    for plan in plans
                ],
            }
        )
        return
    for plan in plans:
        from rich.table import Table

        table = Table(title=plan.target, title_justify="left")
        for heading in ("backup", "", "why"):
            table.add_column(heading)
        gone = "[red]would go[/]" if dry_run else "[red]removed[/]"
        for decision in plan.decisions:
            table.add_row(decision.id, "[green]kept[/]" if decision.keep else gone, ", ".join(decision.reasons))
        for orphan in plan.orphans:
            table.add_row(orphan, gone, "unfinished, a week old")
        console.out.print(table)


def rebuild(as_json: Json = False, folder: Folder = None) -> None:
    """Makes the ledger's index anew from the manifests in the targets."""
    from officeops.backups import catalogue

    site = open_site(folder)
    with site.locked("catalog rebuild"):
        found = catalogue.rebuild(site)
    if as_json:
        console.print_json_object(
            {"targets": [{"target": one.target, "backups": one.backups, "drills": one.drills, "problems": one.problems} for one in found]}
        )
    else:
        for one in found:
            console.out.print(f"{one.target}: {one.backups} backups, {one.drills} drills")
            for problem in one.problems:
                console.err.print(f"[yellow]![/] {problem}")
