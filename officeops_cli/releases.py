"""deploy, rollback, emergency, reconcile, releases."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from officeops.site import open_site
from officeops.stack.port import short
from officeops_cli import console
from officeops_cli.asking import confirm
from officeops_cli.options import Folder, Json, Offline, Wait, Yes

if TYPE_CHECKING:
    from officeops.releases.preflight import Plan
    from officeops.releases.rollout import Outcome, Rollout


class Strategy(StrEnum):
    """How one release follows another."""

    blue_green = "blue-green"
    recreate = "recreate"


class Proxy(StrEnum):
    """What to do when the front door's configuration changes."""

    ask = "ask"
    keep = "keep"
    reload = "reload"


Why = Annotated[str, typer.Option(help="The reason, for the ledger.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (deploy, rollback, emergency, reconcile, releases):
        app.command()(command)


def deploy(
    ref: Annotated[str | None, typer.Argument(help="Commit, tag or branch; default: origin/main, fetched first.")] = None,
    strategy: Annotated[
        Strategy,
        typer.Option(help="blue-green: without an interruption. recreate: stops the old release first and measures the interruption."),
    ] = Strategy.blue_green,
    allow_unsafe: Annotated[bool, typer.Option("--allow-unsafe", help="Although a migration is unsafe for the release that runs.")] = False,
    proxy: Annotated[
        Proxy, typer.Option(help="When the front door's configuration changes: refuse, keep the old one, take the new one over.")
    ] = Proxy.ask,
    force: Annotated[bool, typer.Option("--force", help="Even when this very release runs already.")] = False,
    why: Why = "",
    dry_run: DryRun = False,
    as_json: Json = False,
    offline: Offline = False,
    wait: Wait = 0,
    folder: Folder = None,
) -> None:
    """A release takes over from the one that runs, without a dropped request."""
    from officeops_cli.runs import recorded

    site = open_site(folder)
    with recorded(site.config, offline=offline, wait_minutes=wait):
        from flows.deploy import DeployOptions
        from flows.deploy import deploy as flow

        plan, done = flow(
            DeployOptions(
                dry_run=dry_run, ref=ref, strategy=strategy.value, why=why, allow_unsafe=allow_unsafe, proxy=proxy.value, force=force,
                wait_minutes=wait,
            )
        )  # fmt: skip
    _show(plan, done, dry_run=dry_run, as_json=as_json)


def rollback(
    to: Annotated[str, typer.Option(help="`previous`, or the beginning of the sha of a release that is on this host.")] = "previous",
    accept_data_loss: Annotated[
        bool, typer.Option("--accept-data-loss", help="Although the older release needs an older schema, which drops data.")
    ] = False,
    why: Why = "",
    dry_run: DryRun = False,
    as_json: Json = False,
    offline: Offline = False,
    wait: Wait = 0,
    folder: Folder = None,
) -> None:
    """An earlier release serves again, with the settings that it ran with: the same way as a deploy, without building."""
    from officeops_cli.runs import recorded

    site = open_site(folder)
    with recorded(site.config, offline=offline, wait_minutes=wait):
        from flows.rollback import RollbackOptions
        from flows.rollback import rollback as flow

        plan, schema, done = flow(RollbackOptions(dry_run=dry_run, to=to, why=why, accept_data_loss=accept_data_loss, wait_minutes=wait))
    if schema.needed and not as_json:
        console.err.print(
            f"[yellow]![/] The schema goes from {schema.current} to {schema.target}: {'; '.join(schema.drops) or 'nothing is dropped'}"
        )
    _show(plan, done, dry_run=dry_run, as_json=as_json)


def emergency(
    to: Annotated[str, typer.Option(help="`previous`, or the beginning of the sha of a release that is on this host.")] = "previous",
    why: Why = "",
    yes: Yes = False,
    as_json: Json = False,
    wait: Wait = 0,
    folder: Folder = None,
) -> None:
    """The previous release serves again, by what is on this machine: without Prefect, git or the network. Traffic first, the rest after."""
    from officeops.releases.emergency import back

    site = open_site(folder)
    confirm(f"Go back to {to} now?", yes=yes)

    def say(rollout: Rollout) -> None:
        console.err.print(
            f"[green]✓[/] {short(rollout.release.sha)} serves, after {rollout.switched_after_s:.2f} s. The other one ends its requests."
        )

    with site.locked("emergency", wait_s=wait * 60), console.progress_bars():
        done = back(site, to, why=why, switched=say)
    _print_outcome(done, as_json=as_json)


def reconcile(as_json: Json = False, wait: Wait = 0, folder: Folder = None) -> None:
    """Ends what a killed deploy or rollback left: forward when the new release had held, back otherwise."""
    from officeops.order import put_in_order
    from officeops.releases.rollout import reconcile as end

    site = open_site(folder)
    with site.locked("reconcile", wait_s=wait * 60):
        done = end(site)
        troubles = put_in_order(site)
    if as_json:
        console.print_json_object({"done": done, "troubles": troubles})
        return
    for line in done or ["Nothing was left in the middle."]:
        console.out.print(f"[green]✓[/] {line}")
    for trouble in troubles:
        console.err.print(f"[yellow]![/] {trouble}", soft_wrap=True)


def releases(as_json: Json = False, folder: Folder = None) -> None:
    """Which releases took over, when and why; which one can go back to."""
    from dataclasses import asdict

    from officeops.clock import parse_iso
    from officeops.releases.records import retained

    site = open_site(folder)
    known, kept, deployed = site.ledger.releases(), {record.id for record in retained(site)}, site.stack.deployed()
    if as_json:
        console.print_json_object({"releases": [{**asdict(one), "retained": one.id in kept} for one in known]})
        return
    from rich.table import Table

    table, zone = Table(), site.config.settings.zone
    for heading in ("release", "what", "when", "outcome", "schema", "who", "why", ""):
        table.add_column(heading)
    for one in known[:30]:
        mark = "serves" if one.id in kept and deployed and one.sha == deployed.sha else "can be gone back to" if one.id in kept else ""
        when = f"{parse_iso(one.created_at).astimezone(zone):%Y-%m-%d %H:%M}"
        table.add_row(short(one.sha), one.kind, when, one.outcome or "under way", one.revision or "", one.who, one.why, mark)
    console.out.print(table if known else "No release yet: `officeops up` or `officeops deploy`.")


def _show(plan: Plan, done: Outcome | None, *, dry_run: bool, as_json: bool) -> None:
    if done is not None:
        return _print_outcome(done, as_json=as_json)
    outcome = "unchanged" if plan.unchanged else "planned"
    if as_json:
        console.print_json_object({**plan.as_json(), "switched_after_s": None, "drained_s": None, "seconds": 0.0, "outcome": outcome})
    elif dry_run:
        _print_plan(plan)
    else:
        console.out.print(f"[green]✓[/] {short(plan.new.sha)} runs already, with the same settings: nothing to do.")


def _print_plan(plan: Plan) -> None:
    old = short(plan.old.sha) if plan.old else "nothing"
    console.out.print(f"[bold]{plan.kind}[/] ({plan.strategy}): {old} → {short(plan.new.sha)}")
    for number, step in enumerate(plan.steps, 1):
        console.out.print(f"  {number}. {step.text}", markup=False, soft_wrap=True)
        for command in step.commands:
            console.out.print(f"       {command}", markup=False, highlight=False, soft_wrap=True)
    signs = {"ok": "[green]✓[/]", "note": "[yellow]![/]", "stop": "[red]✗[/]"}
    for check in plan.checks:
        console.out.print(f"{signs[check.verdict]} {check.name}: ", end="")
        console.out.print(check.detail, markup=False, soft_wrap=True)
    for pending in plan.migrations.expand:
        console.out.print(
            f"\nMigration {pending.revision.id}: {pending.revision.doc}\n{(pending.sql or '(SQL not known)').strip()}", markup=False
        )
    if plan.migrations.contract:
        names = ", ".join(revision.id for revision in plan.migrations.contract)
        console.out.print(f"Waiting for `officeops migrate contract`: {names}")
    if plan.unchanged:
        console.out.print("This very release runs already.")


def _print_outcome(done: Outcome, *, as_json: bool) -> None:
    if as_json:
        found: dict[str, Any] = {
            "from": done.old, "to": done.new, "strategy": done.strategy,
            "migrations": {"from": done.migrations[0], "to": done.migrations[1]},
            "switched_after_s": rounded(done.switched_after_s), "drained_s": rounded(done.drained_s), "downtime_s": rounded(done.downtime_s),
            "seconds": rounded(done.seconds), "outcome": done.outcome, "notes": list(done.notes),
        }  # fmt: skip
        console.print_json_object(found)
        return
    console.out.print(f"[green]✓[/] {short(done.new)} serves ({done.outcome}), all of it in {console.duration(done.seconds)}.")
    if done.switched_after_s is not None:
        console.out.print(f"  New requests reached it after {done.switched_after_s:.1f} s.")
    if done.drained_s is not None:
        console.out.print(f"  {short(done.old or '')} had answered everything {done.drained_s:.1f} s after that.")
    if done.downtime_s is not None:
        console.out.print(f"  Nobody answered for {done.downtime_s:.1f} s.")
    for note in done.notes:
        console.err.print("[yellow]![/] ", end="")
        console.err.print(note, markup=False, soft_wrap=True)


def rounded(value: float | None) -> float | None:
    """Seconds for JSON."""
    return None if value is None else round(value, 3)
