"""archive, archives, unarchive, query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from officeops.site import open_site
from officeops_cli import console
from officeops_cli.options import Folder, Json, Offline, Wait

if TYPE_CHECKING:
    from flows.archive import Archived
    from officeops.archive.plan import ArchivePlan
    from officeops.archive.states import BatchRecord


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (archive, archives, unarchive, query):
        app.command()(command)


def archive(
    policy: Annotated[str | None, typer.Argument(help="Only this policy of runbook.yaml; default: all.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show rows, bytes and statements.")] = False,
    waiting: Annotated[bool, typer.Option("--waiting", help="Begin no new batch; go on with those that wait.")] = False,
    prove: Annotated[bool, typer.Option("--prove", help="Make and drill a backup when rows wait for one.")] = False,
    as_json: Json = False,
    offline: Offline = False,
    wait: Wait = 0,
    folder: Folder = None,
) -> None:
    """Old rows leave the database as Parquet files: exported, read back, and removed after their grace and a drilled backup."""
    from officeops.archive.batch import policy_named
    from officeops_cli.runs import recorded

    site = open_site(folder)
    if policy is not None:
        policy_named(site, policy)  # a wrong name is told at once
    with recorded(site.config, offline=offline, wait_minutes=wait):
        from flows.archive import ArchiveOptions
        from flows.archive import archive as flow

        done = flow(ArchiveOptions(policy=policy, dry_run=dry_run, new=not waiting, prove=prove, wait_minutes=wait))
    if as_json:
        console.print_json_object(_as_json(done, policy))
    elif dry_run:
        for plan in done.plans:
            _print_plan(plan)
    else:
        _print_done(done)


def _as_json(done: Archived, policy: str | None) -> dict[str, Any]:
    tables: dict[str, dict[str, int]] = {}
    for plan in done.plans:
        for name, amount in plan.tables.items():
            _add(tables, name, amount.rows, amount.bytes)
    for record in done.batches:
        for table in record.contents.tables:
            _add(tables, table.label, table.rows, table.bytes)
    return {
        "policy": policy,
        "batch": done.batches[-1].id if done.batches else None,
        "tables": tables,
        "objects": [
            {"target": target, "key": table.object, "bytes": table.bytes, "sha256": table.sha256}
            for record in done.batches
            for target in record.targets
            for table in record.contents.tables
        ],
        "seconds": round(done.seconds, 3),
        "batches": [{**_listed(record), "waits_for": done.waiting.get(record.id)} for record in done.batches],
        "plans": [
            {"policy": plan.policy, "batches": plan.batches, "statements": list(plan.statements), "notes": list(plan.notes)}
            for plan in done.plans
        ],
        "warnings": done.warnings,
    }


def _add(tables: dict[str, dict[str, int]], name: str, rows: int, size: int) -> None:
    found = tables.setdefault(name, {"rows": 0, "bytes": 0})
    found["rows"] += rows
    found["bytes"] += size


def _print_plan(plan: ArchivePlan) -> None:
    console.out.print(f"[bold]{plan.policy}[/]: rows older than {plan.older_than:%Y-%m-%d %H:%M} UTC, in {plan.batches} batches, to")
    for target in plan.targets:
        console.out.print(f"  {target}", markup=False)
    for name, amount in plan.tables.items():
        console.out.print(f"  {name}: {amount.rows:,} rows, {console.size(amount.bytes)}", markup=False)
    for note in plan.notes:
        console.err.print(f"[yellow]![/] {note}", soft_wrap=True)
    for statement in plan.statements:
        console.out.print(f"\n{statement};", markup=False, soft_wrap=True)


def _print_done(done: Archived) -> None:
    if not done.batches:
        console.out.print("Nothing to archive.")
    for record in done.batches:
        manifest, stayed = record.contents, _stayed(record)
        console.out.print(
            f"[green]✓[/] {record.id} ({record.policy}): {manifest.rows:,} rows, {console.size(manifest.bytes)}, {record.state}"
        )
        if stayed:
            console.out.print(f"  {stayed:,} rows stayed in the database: they, or rows with them, were changed since the export.")
        if record.id in done.waiting:
            console.out.print(f"  {done.waiting[record.id]}", markup=False, soft_wrap=True)
    for warning in done.warnings:
        console.err.print(f"[yellow]![/] {warning}", soft_wrap=True)


def archives(as_json: Json = False, folder: Folder = None) -> None:
    """Lists the batches that the database knows."""
    from officeops.archive import states

    site = open_site(folder)
    with states.session(site, "archives") as connection:
        known = states.batches(connection)[::-1]
    if as_json:
        console.print_json_object({"batches": [_listed(record) for record in known]})
        return
    from rich.table import Table

    table, zone = Table(), site.config.settings.zone
    for heading in ("batch", "policy", "state", "rows", "size", "exported", "leave after", "stayed", "brought back"):
        table.add_column(heading, no_wrap=heading == "batch")
    for record in known:
        manifest = record.manifest
        table.add_row(
            record.id, record.policy, record.state, f"{manifest.rows:,}" if manifest else "", console.size(manifest.bytes) if manifest else "",
            f"{record.exported_at.astimezone(zone):%Y-%m-%d %H:%M}" if record.exported_at else "",
            f"{record.due_at.astimezone(zone):%Y-%m-%d %H:%M}" if record.due_at else "",
            f"{_stayed(record):,}", f"{record.absent.get('returned', 0):,}",
        )  # fmt: skip
    console.out.print(table if known else "No archives yet. `officeops archive --dry-run` shows what the policies would take.")


def _stayed(record: BatchRecord) -> int:
    return sum(rows for why, rows in record.absent.items() if why != "returned")


def _listed(record: BatchRecord) -> dict[str, Any]:
    manifest = record.manifest
    times = {"exported_at": record.exported_at, "verified_at": record.verified_at, "due_at": record.due_at, "done_at": record.done_at}
    return {
        "id": record.id,
        "policy": record.policy,
        "state": record.state,
        "tables": {table.label: {"rows": table.rows, "bytes": table.bytes} for table in manifest.tables} if manifest else {},
        "targets": record.targets,
        **{name: at.isoformat() if at else None for name, at in times.items()},
        "absent": record.absent,
        "table_sizes": record.sizes,
    }


def unarchive(
    batch: Annotated[str, typer.Argument(metavar="BATCH", help="Id of a batch, or the beginning of one.")],
    where: Annotated[str, typer.Option(help="SQL condition on the policy's table: only those rows, with their children.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would come back: it is tried, and taken back.")] = False,
    as_json: Json = False,
    offline: Offline = False,
    wait: Wait = 0,
    folder: Folder = None,
) -> None:
    """Archived rows come back, parents first, compared with what was archived. What is in the way stays, and is reported."""
    from officeops.archive import states
    from officeops_cli.runs import recorded

    site = open_site(folder)
    with states.session(site, "unarchive") as connection:
        states.batch(connection, batch)  # a wrong id is told at once
    with recorded(site.config, offline=offline, wait_minutes=wait):
        from flows.archive import UnarchiveOptions
        from flows.archive import unarchive as flow

        done = flow(UnarchiveOptions(dry_run=dry_run, batch=batch, where=where, wait_minutes=wait))
    if as_json:
        tables = {name: {"rows": rows} for name, rows in done.rows.items()}
        console.print_json_object(
            {"batch": done.batch, "tables": tables, "conflicts": done.conflicts, "refused": done.refused, "seconds": round(done.seconds, 3)}
        )
    else:
        console.out.print(f"[green]✓[/] {done.batch} {'would come back' if dry_run else 'in ' + console.duration(done.seconds)}")
        for name, rows in done.rows.items():
            console.out.print(f"  {name}: {rows:,} rows", markup=False)
        for conflict in done.conflicts[:20]:
            console.err.print(f"[yellow]![/] {conflict}", soft_wrap=True)
        if done.refused > len(done.conflicts[:20]):
            console.err.print(f"[yellow]![/] {done.refused:,} in all stay archived.")
    if done.refused:
        raise typer.Exit(1)


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT over archived tables, in DuckDB's SQL.")],
    as_json: Json = False,
    folder: Folder = None,
) -> None:
    """Asks archived rows. Rows that came back, or never left, are not among them."""
    from officeops.archive.query import query as ask

    answer = ask(open_site(folder), sql)
    if as_json:
        rows = [[value if isinstance(value, int | float | str | bool | None) else str(value) for value in row] for row in answer.rows]
        console.print_json_object({"columns": list(answer.columns), "rows": rows})
        return
    from rich.table import Table

    table = Table()
    for column in answer.columns:
        table.add_column(column)
    for row in answer.rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    console.out.print(table, markup=False)
