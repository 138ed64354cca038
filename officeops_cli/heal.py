"""heal, incidents."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from officeops.clock import parse_iso
from officeops.errors import RefusedError, UsageError
from officeops.site import Site, open_site
from officeops_cli import console
from officeops_cli.asking import confirm
from officeops_cli.options import Folder, Json, Yes

if TYPE_CHECKING:
    from officeops.ledger.watching import Incident
    from officeops.remedies.remedy import Step

_LATEST = 20
_EXITS = {"healed": 0, "well": 0, "refused": 3}


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(heal)
    app.command()(incidents)


def heal(
    probe: Annotated[str | None, typer.Argument(help="Name of what is wrong, or a service; default: every alert that fires.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    unattended: Annotated[bool, typer.Option("--unattended", hidden=True)] = False,
    yes: Yes = False,
    as_json: Json = False,
    folder: Folder = None,
) -> None:
    """Sees to what is wrong as the runbook says, step by step, each verified by the probe that raised it. Needs no Prefect."""
    from officeops.releases.records import who
    from officeops.remedies.healing import Healing

    site = open_site(folder)
    doctor = Healing(
        site, "the watcher" if unattended else who(), approve=_approval(yes=yes, unattended=unattended), by_hand=not unattended
    )
    names = [probe] if probe else _firing(site)
    if dry_run:
        _show_plan([_as_object(doctor, name) for name in names], as_json=as_json)
        return
    with console.progress_bars():
        done = [doctor.heal(name) for name in names]
    if as_json:
        console.print_json_object({"incidents": [asdict(one) for one in done]})
    else:
        for one in done:
            _show(site, one)
        if not done:
            console.err.print("No alert fires.")
    if status := max((_EXITS.get(one.outcome or "", 1) for one in done), default=0):
        raise typer.Exit(status)


def incidents(
    identity: Annotated[str | None, typer.Argument(help="Id of an incident: all of it.")] = None,
    as_json: Json = False,
    folder: Folder = None,
) -> None:
    """What was mended, or was tried to."""
    site = open_site(folder)
    found = [one for one in site.ledger.incidents(limit=None if identity else _LATEST) if identity in (None, one.id)]
    if identity and not found:
        raise UsageError(f"There is no incident {identity!r}.", todo="`officeops incidents` lists them.")
    if as_json:
        console.print_json_object({"incidents": [asdict(one) for one in found]})
        return
    for one in found:
        _show(site, one)
        if identity:
            console.out.print(one.diagnosis, markup=False, soft_wrap=True)


def _firing(site: Site) -> list[str]:
    return [one.name for one in site.ledger.alerts() if one.is_known and one.cause is None and one.well_since is None]


def _approval(*, yes: bool, unattended: bool) -> Any:
    from officeops.remedies.asking import plan_of

    def approve(incident: Incident, step: Step) -> bool:
        if unattended and not yes:
            raise RefusedError("Nobody is here to approve it.")
        console.err.print(plan_of(incident, step.name), markup=False, soft_wrap=True)
        confirm(f"{incident.probe}: {step.name}?", yes=yes)
        return True

    return approve


def _as_object(doctor: Any, name: str) -> dict[str, Any]:
    from officeops.remedies.asking import must_ask

    found = doctor.plan(name)
    if found is None:
        return {"probe": name, "wrong": None, "remedy": None, "steps": [], "asks": [], "skipped": {}}
    return {
        "probe": found.patient.name,
        "wrong": found.patient.detail,
        "remedy": found.remedy.name,
        "steps": [step.name for step in found.steps],
        "asks": [step.name for step in found.steps if must_ask(doctor.site, found.remedy, step)],
        "skipped": dict(found.skipped),
    }


def _show_plan(plans: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        console.print_json_object({"plans": plans})
        return
    for plan in plans:
        if plan["wrong"] is None:
            console.out.print(f"[green]✓[/] {plan['probe']} is well: nothing would be done.")
            continue
        console.out.print(f"[red]✗[/] {plan['wrong']}", soft_wrap=True)
        steps = [f"{step} (asks first)" if step in plan["asks"] else step for step in plan["steps"]]
        console.out.print(f"  {plan['remedy']}: {' → '.join([*steps, 'page'])}")
        for name, why in plan["skipped"].items():
            console.out.print(f"  not {name}: {why}")


def _show(site: Site, one: Incident) -> None:
    mark = {"healed": "[green]✓[/]", "well": "[green]✓[/]"}.get(one.outcome or "", "[red]✗[/]")
    began = f"{parse_iso(one.started_at).astimezone(site.config.settings.zone):%m-%d %H:%M:%S}"
    console.out.print(f"{mark} {began} {one.probe} ({one.remedy}): {one.outcome or 'goes on'}  {one.id}", soft_wrap=True)
    for step in one.steps:
        console.out.print(f"    {step.at[11:19]} {step.what}: {step.outcome} {step.detail[:200]}", markup=False, soft_wrap=True)
