"""rebuild, clean-up."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from officeops.site import open_site
from officeops.stack.port import short
from officeops_cli import console
from officeops_cli.options import Folder, Json, Offline, Wait
from officeops_cli.releases import Strategy, rounded

if TYPE_CHECKING:
    from officeops.upkeep.clean_up import CleanedUp
    from officeops.upkeep.rebuild import Rebuilt


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(rebuild)
    app.command("clean-up")(clean_up)


def rebuild(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Build, compare, and remove it again; nothing that runs is touched.")] = False,
    strategy: Annotated[
        Strategy,
        typer.Option(help="blue-green: without an interruption. recreate: stops the old one first and measures the interruption."),
    ] = Strategy.blue_green,
    why: Annotated[str, typer.Option(help="The reason, for the ledger.")] = "officeops rebuild",
    as_json: Json = False,
    offline: Offline = False,
    wait: Wait = 0,
    folder: Folder = None,
) -> None:
    """Security updates: the release that runs is built from nothing, compared, and takes over when something changed."""
    from officeops_cli.runs import recorded

    site = open_site(folder)
    with recorded(site.config, offline=offline, wait_minutes=wait):
        from flows.rebuild import RebuildOptions
        from flows.rebuild import rebuild as flow

        done = flow(RebuildOptions(dry_run=dry_run, strategy=strategy.value, why=why, wait_minutes=wait))
    if as_json:
        console.print_json_object(_rebuilt(done))
    else:
        _print_rebuilt(done)


def _rebuilt(done: Rebuilt) -> dict[str, Any]:
    took = done.rollout
    return {
        "from": done.old, "to": done.new, "strategy": took.strategy if took else None, "outcome": done.outcome,
        "changes": [asdict(one) for one in done.changes.all],
        "sizes": {part: {"before": before, "after": after} for part, (before, after) in done.changes.bytes.items()},
        "notes": [*done.notes, *done.changes.unknown], "vulnerabilities": done.vulnerabilities, "models": [asdict(one) for one in done.models],
        "switched_after_s": rounded(took.switched_after_s) if took else None, "drained_s": rounded(took.drained_s) if took else None,
        "seconds": rounded(took.seconds) if took else None,
    }  # fmt: skip


def _print_rebuilt(done: Rebuilt) -> None:
    said = {
        "deployed": f"{short(done.new)} serves in the place of {short(done.old)}.",
        "unchanged": f"Nothing changed: {short(done.old)} goes on serving, what was built is removed again.",
        "planned": f"{short(done.old)} would be replaced: {len(done.changes.all)} changes.",
    }
    console.out.print(f"[green]✓[/] {said[done.outcome]}")
    for one in done.changes.all:
        console.out.print(
            f"  {one.part}: {one.kind} {one.name} {one.before or '(new)'} → {one.after or '(gone)'}", markup=False, soft_wrap=True
        )
    for model in done.models:
        console.out.print(
            f"  model {model.name}: {model.note or f'{model.before[:19]} → {model.after[:19]}'}", markup=False, soft_wrap=True
        )
    for part, found in (done.vulnerabilities or {}).items():
        console.out.print(f"  vulnerabilities of {part}: {dict(found['before'])} → {dict(found['after'])}", markup=False, soft_wrap=True)
    for note in (*done.notes, *done.changes.unknown):
        console.err.print("[yellow]![/] ", end="")
        console.err.print(note, markup=False, soft_wrap=True)


def clean_up(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go, each with its size and why.")] = False,
    as_json: Json = False,
    offline: Offline = False,
    wait: Wait = 0,
    folder: Folder = None,
) -> None:
    """Images, build cache, releases and left-overs that nothing of this stack needs leave the disk. Other projects are not touched."""
    from officeops_cli.runs import recorded

    site = open_site(folder)
    with recorded(site.config, offline=offline, wait_minutes=wait):
        from flows.clean_up import CleanUpOptions
        from flows.clean_up import clean_up as flow

        done = flow(CleanUpOptions(dry_run=dry_run, wait_minutes=wait))
    if as_json:
        console.print_json_object(
            {
                "dry_run": dry_run, "gone": [asdict(one) for one in done.gone], "kept": [asdict(one) for one in done.kept],
                "troubles": list(done.troubles), "bytes": done.bytes, "seconds": rounded(done.seconds),
            }
        )  # fmt: skip
    else:
        _print_cleaned(done, dry_run=dry_run)
    if done.troubles:
        raise typer.Exit(1)


def _print_cleaned(done: CleanedUp, *, dry_run: bool) -> None:
    from rich.table import Table

    table = Table()
    for heading in ("", "what", "name", "size", "why"):
        table.add_column(heading, overflow="fold")
    word = "would go" if dry_run else "went"
    for one in (*done.gone, *done.kept):
        table.add_row("stays" if one.stays else word, one.kind, one.name, console.size(one.bytes), one.why)
    console.out.print(table)
    console.out.print(f"{len(done.gone)} things {word}, {console.size(done.bytes)} at least.")
    for trouble in done.troubles:
        console.err.print("[red]✗[/] ", end="")
        console.err.print(trouble, markup=False, soft_wrap=True)
