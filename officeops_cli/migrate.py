"""migrate contract, downgrade, current, history, stamp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from officeops.site import Site, open_site
from officeops.stack.port import short
from officeops_cli import console
from officeops_cli.asking import confirm
from officeops_cli.options import Folder, Json, Offline, Wait, Yes

if TYPE_CHECKING:
    from officeops.releases.plans import DowngradePlan, Migrated, Pending

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    migrate = typer.Typer(help="The schema by itself: `deploy` does what a release needs.", no_args_is_help=True)
    for command in (contract, current, history, stamp):
        migrate.command()(command)
    migrate.command(context_settings={"ignore_unknown_options": True})(downgrade)  # -1 is no option
    app.add_typer(migrate, name="migrate")


def contract(
    dry_run: DryRun = False, yes: Yes = False, as_json: Json = False, offline: Offline = False, wait: Wait = 0, folder: Folder = None
) -> None:
    """Applies what had to wait until no release that one can go back to needs it. A backup is made first."""
    from officeops.releases.records import release_of, retained
    from officeops.releases.schema import Schema

    site = open_site(folder)
    planned = Schema(site).plan_contract([release_of(site, record) for record in retained(site)])
    if dry_run or not planned:
        return _show_contract(planned, as_json=as_json)
    confirm(f"Apply {', '.join(one.revision.id for one in planned)} to {site.config.runbook.title}?", yes=yes)
    from officeops_cli.runs import recorded

    with recorded(site.config, offline=offline, wait_minutes=wait):
        from flows.migrate import ContractOptions, migrate_contract

        _, done = migrate_contract(ContractOptions(wait_minutes=wait))
    _show_done(done, as_json=as_json)


def downgrade(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A revision, `base`, or a number of revisions such as -1.")],
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    offline: Offline = False,
    wait: Wait = 0,
    folder: Folder = None,
) -> None:
    """Undoes revisions of the schema, with the data that this drops. A backup is made first."""
    from officeops.releases.schema import Schema

    site = open_site(folder)
    plan = Schema(site).plan_downgrade(target)
    if dry_run or not plan.revisions:
        return _show_downgrade(plan, as_json=as_json)
    _ask(site, plan, yes=yes)
    from officeops_cli.runs import recorded

    with recorded(site.config, offline=offline, wait_minutes=wait):
        from flows.migrate import DowngradeOptions, migrate_downgrade

        _, done = migrate_downgrade(DowngradeOptions(target=plan.target or "base", confirm=site.name, wait_minutes=wait))
    _show_done(done, as_json=as_json)


def current(as_json: Json = False, folder: Folder = None) -> None:
    """Which revision the database is at, and what the release that runs would add."""
    from officeops.releases.schema import Schema

    standing = Schema(open_site(folder)).standing()
    expand, waiting = [one.id for one in standing.expand], [one.id for one in standing.contract]
    if as_json:
        return console.print_json_object(
            {
                "revision": standing.current, "release": standing.release, "head": standing.head, "ahead": standing.ahead,
                "expand": expand, "contract": waiting,
            }
        )  # fmt: skip
    console.out.print(
        f"The database is at {standing.current or 'no revision'}; {short(standing.release)} ends at {standing.head or 'none'}."
    )
    if standing.ahead:
        console.out.print("  It is ahead: a newer release brought that revision.")
    if expand:
        console.out.print(f"  To be added: {', '.join(expand)}")
    if waiting:
        console.out.print(f"  Waiting for `officeops migrate contract`: {', '.join(waiting)}")


def history(as_json: Json = False, folder: Folder = None) -> None:
    """The revisions of the release that runs, and which of them the database has."""
    from officeops.releases.schema import Schema

    known = Schema(open_site(folder)).history()
    if as_json:
        rows = [
            {
                "id": one.revision.id, "doc": one.revision.doc, "contract": one.revision.contract, "applied": one.applied,
                "current": one.current,
            }
            for one in known
        ]  # fmt: skip
        return console.print_json_object({"revisions": rows})
    from rich.table import Table

    table = Table()
    for heading in ("revision", "what", "kind", ""):
        table.add_column(heading)
    for one in known:
        mark = "current" if one.current else "applied" if one.applied else "[yellow]not applied[/]"
        table.add_row(one.revision.id, one.revision.doc, "contract" if one.revision.contract else "expand", mark)
    console.out.print(table if known else "The release that runs has no migrations.")


def stamp(
    revision: Annotated[str, typer.Argument(metavar="REVISION", help="The revision that the schema really has, or `base`.")],
    yes: Yes = False,
    as_json: Json = False,
    offline: Offline = False,
    wait: Wait = 0,
    folder: Folder = None,
) -> None:
    """Writes down which revision the database is at, and changes nothing else: for repairs."""
    from officeops.releases.schema import Schema

    site = open_site(folder)
    Schema(site).require_known(revision)
    confirm(f"Write down that the database of {site.config.runbook.title} is at {revision}?", yes=yes)
    from officeops_cli.runs import recorded

    with recorded(site.config, offline=offline, wait_minutes=wait):
        from flows.migrate import StampOptions, migrate_stamp

        done = migrate_stamp(StampOptions(revision=revision, wait_minutes=wait))
    _show_done(done, as_json=as_json)


def _ask(site: Site, plan: DowngradePlan, *, yes: bool) -> None:
    title, lost = site.config.runbook.title, "; ".join(plan.drops) or "nothing that is known"
    confirm(f"Undo {', '.join(one.id for one in plan.revisions)} of {title}? Dropped: {lost}.", yes=yes)
    if plan.target is None:
        confirm(f"That is the whole schema of {title}, with all its data. Really?", yes=yes)


def _show_contract(planned: tuple[Pending, ...], *, as_json: bool) -> None:
    if as_json:
        revisions = [{"id": one.revision.id, "doc": one.revision.doc, "sql": one.sql} for one in planned]
        return console.print_json_object({"revisions": revisions, "outcome": "planned" if planned else "unchanged"})
    for one in planned:
        console.out.print(f"{one.revision.id}: {one.revision.doc}\n{one.sql or one.note}", markup=False)
    if not planned:
        console.out.print("[green]✓[/] Nothing waits.")


def _show_downgrade(plan: DowngradePlan, *, as_json: bool) -> None:
    if as_json:
        return console.print_json_object(
            {
                "from": plan.current, "to": plan.target, "revisions": [{"id": one.id, "doc": one.doc} for one in plan.revisions],
                "sql": plan.sql, "drops": list(plan.drops), "outcome": "planned" if plan.revisions else "unchanged",
            }
        )  # fmt: skip
    if not plan.revisions:
        return console.out.print(f"[green]✓[/] The database is at {plan.current} already.")
    console.out.print(f"From {plan.current} to {plan.target or 'base'}:")
    for one in plan.revisions:
        console.out.print(f"  {one.id}: {one.doc}", markup=False)
    known = "nothing" if plan.sql is not None else "not known: this release cannot print its SQL"
    console.out.print(f"Dropped: {'; '.join(plan.drops) or known}", markup=False)
    console.out.print((plan.sql or "").strip(), markup=False)


def _show_done(done: Migrated | None, *, as_json: bool) -> None:
    found: dict[str, Any] = {
        "from": done.before if done else None, "to": done.after if done else None,
        "revisions": [one.id for one in done.revisions] if done else [], "outcome": "migrated" if done else "unchanged",
    }  # fmt: skip
    if as_json:
        return console.print_json_object(found)
    before, after = found["from"] or "base", found["to"] or "base"
    console.out.print(f"[green]✓[/] The schema went from {before} to {after}." if done else "[green]✓[/] Nothing was to be done.")
