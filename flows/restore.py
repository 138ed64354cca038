"""The chapter on restores: beside what is live, proven, then swapped; its undoing; and the weekly drill.

What is restored decides how: a database beside the live one, volumes into new ones. The two ways stand below each other; `WAYS` picks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import Field

from flows.naming import known_as, named
from flows.options import Options, waiting
from officeops.clock import utc_now
from officeops.errors import UsageError
from officeops.restores.beside import Beside, TableCheck
from officeops.restores.drill import Drill
from officeops.restores.latest import undo_of_last
from officeops.restores.restore import Restore, Undo
from officeops.restores.source import BackupSource, FileSource, Source, VolumeSource
from officeops.site import Site
from officeops.volumes.beside import VolumeBeside, VolumeCheck
from officeops.volumes.drill import VolumeDrill
from officeops.volumes.restore import VolumeRestore, VolumeUndo
from tasks import restores as steps
from tasks import volumes as volume_steps
from tasks.account import accounted
from tasks.approvals import approve
from tasks.plans import restore_plan, restore_terms, undo_plan
from tasks.site import at_work


class RestoreOptions(Options):
    """What is restored."""

    dry_run: bool = Field(False, description="Restore beside what is live and compare, swap nothing.")
    backup: str = Field(
        description="Id of a backup; latest is the newest of the database, latest:volumes and latest:basebackup are those of their kind. "
        "On the command line also the beginning of an id, or the path of a .sql, .dump, .gz, .zst or .age file."
    )
    target: str | None = Field(None, description="Take it from this target; default: the first that has it whole.")
    identity: Path | None = Field(None, description="File with the age secret key; default: BACKUP_AGE_IDENTITY_FILE.")
    volumes: list[str] = Field([], description="Of a backup of volumes, only these.")
    why: str = Field("", description="The reason, for the report.")
    wait_minutes: float = waiting()


class UndoOptions(Options):
    """Undoing the last restore."""

    dry_run: bool = Field(False, description="Only say what would become live again.")
    wait_minutes: float = waiting()


class DrillOptions(Options):
    """Which backup is proven."""

    backup: str = Field(
        "latest",
        description="Id of a backup; latest is the newest of the database that some target holds whole, latest:volumes and latest:basebackup are those of their kind.",
    )
    target: str | None = Field(None, description="Take it from this target; default: the first that has it whole.")
    wait_minutes: float = waiting()


@dataclass(frozen=True)
class Restored:
    """What a restore or a drill ended with. previous: the database that was live before, None when none was swapped; previous_volumes: the
    same for each live volume that was swapped."""

    source: str
    tables: Mapping[str, TableCheck]
    seconds: float
    previous: str | None
    volumes: Mapping[str, VolumeCheck] = field(default_factory=dict)
    previous_volumes: Mapping[str, str] = field(default_factory=dict)


@flow(
    name="restore",
    flow_run_name=named("restore", "backup"),
    description="Restore beside what is live, compare, swap.",
    persist_result=False,
)
@accounted("restore")
def restore(options: RestoreOptions) -> Restored:
    """Until the swap the live data serve; after it the previous ones stay for an instant way back."""
    with at_work(f"restore of {options.backup}", wait_minutes=options.wait_minutes) as site:
        source = steps.find_source(site, options.backup, target=options.target, identity=options.identity)
        require_fitting(source, volumes=options.volumes)
        known_as(f"restore {source.label}{' (dry run)' if options.dry_run else ''}", f"backup:{source.label}")
        if not options.dry_run:
            approve(site, "restore", plan=restore_plan(site, source, options), terms=restore_terms(site, source, options))
        return WAYS[type(source)].restore(site, source, options)


@flow(
    name="restore-undo",
    flow_run_name=named("undo the restore"),
    description="What the last restore set aside becomes live again.",
    persist_result=False,
)
@accounted("restore")
def restore_undo(options: UndoOptions = UndoOptions()) -> Restored:
    """The way back from a restore, in seconds."""
    with at_work("undo of a restore", wait_minutes=options.wait_minutes) as site:
        found = steps.find_undoable(site)
        if options.dry_run:
            steps.report_undo(site, undo_plan(found))
            return Restored(", ".join(found.previous.values()), {}, 0.0, None)
        approve(site, "restore_undo", plan=undo_plan(found), terms={"restore": found.restore, **found.previous})
        with undo_of_last(site) as run:
            return UNDOINGS[type(run)](site, run)


@flow(
    name="restore-drill",
    flow_run_name=named("restore drill", "backup"),
    description="A backup restored, compared, checked, dropped.",
    persist_result=False,
)
@accounted("drill")
def restore_drill(options: DrillOptions = DrillOptions()) -> Restored:
    """The only proof of a backup. One that could not run has failed."""
    with at_work("restore drill", wait_minutes=options.wait_minutes) as site:
        source = steps.find_stored(site, options.backup, target=options.target)
        known_as(f"restore drill {source.label}", f"backup:{source.label}")
        return WAYS[type(source)].drill(site, source)


def restore_database(site: Site, source: Source, options: RestoreOptions) -> Restored:
    """Into a database beside the live one, which takes its place by its name."""
    began = utc_now()
    with Restore.begin(site, source) as run:
        tables = load_and_compare(run.beside)
        if options.dry_run:
            run.abandon()
        else:
            steps.analyze(run.beside)
            steps.stop_writers(run.swap)
            steps.swap_databases(run.swap)
            steps.ask_live(run.swap)
            steps.start_writers(run.swap)
            run.swap.finish()
    done = Restored(source.label, tables, _since(began), run.swap.previous)
    outcome = (
        f"The previous database is `{done.previous}`; `officeops restore --undo` swaps back." if done.previous else "Nothing was swapped."
    )
    steps.report_restore(site, "restore", done.source, tables, done=outcome, seconds=done.seconds, why=options.why)
    return done


def restore_volumes(site: Site, source: VolumeSource, options: RestoreOptions) -> Restored:
    """Into new volumes, which change places with the live ones while the services that use them stand still."""
    began = utc_now()
    with VolumeRestore.begin(site, source, volumes=options.volumes) as run:
        volumes = fill_and_compare(run.besides)
        if options.dry_run:
            run.abandon()
        else:
            volume_steps.stop_for_swap(run.swap)
            volume_steps.swap_volumes(run.swap)
            volume_steps.start_after_swap(run.swap)
            run.finish()
    done = Restored(source.label, {}, _since(began), None, volumes, run.previous)
    kept = ", ".join(f"`{name}`" for name in run.previous.values())
    outcome = f"What was there before is in {kept}; `officeops restore --undo` swaps back." if kept else "Nothing was swapped."
    volume_steps.report_volumes(site, "restore", done.source, volumes, done=outcome, seconds=done.seconds, why=options.why)
    return done


def undo_database(site: Site, run: Undo) -> Restored:
    """The previous database has its old name again."""
    began = utc_now()
    steps.stop_writers(run.swap)
    steps.swap_databases(run.swap)
    steps.start_writers(run.swap)
    run.swap.finish()
    done = Restored(run.swap.candidate, {}, _since(began), run.swap.previous)
    steps.report_restore(site, "restore", done.source, {}, done=f"It is live again; the other is `{done.previous}`.", seconds=done.seconds)
    return done


def undo_volumes(site: Site, run: VolumeUndo) -> Restored:
    """The previous volumes are live again."""
    began = utc_now()
    volume_steps.stop_for_swap(run.swap)
    volume_steps.swap_volumes(run.swap)
    volume_steps.start_after_swap(run.swap)
    run.finish()
    names = ", ".join(run.previous)
    done = Restored(names, {}, _since(began), None, {}, run.previous)
    kept = ", ".join(f"`{name}`" for name in run.previous.values())
    volume_steps.report_volumes(
        site, "restore", names, {}, done=f"They are live again; what they replace is in {kept}.", seconds=done.seconds
    )
    return done


def drill_database(site: Site, source: BackupSource) -> Restored:
    """Into a scratch database that goes."""
    began = utc_now()
    with Drill.begin(site, source) as drill:
        tables = load_and_compare(drill.beside)
        steps.check_structure(drill.beside)
    done = Restored(source.label, tables, _since(began), None)
    proof = "Fingerprints equal, structure sound, smoke queries answered. The scratch database is gone."
    steps.report_restore(site, "drill", done.source, tables, done=proof, seconds=done.seconds)
    return done


def drill_volumes(site: Site, source: VolumeSource) -> Restored:
    """Into new volumes that go."""
    began = utc_now()
    with VolumeDrill.begin(site, source) as drill:
        volumes = fill_and_compare(drill.besides)
    done = Restored(source.label, {}, _since(began), None, volumes)
    proof = "Every entry equal. The new volumes are gone."
    volume_steps.report_volumes(site, "drill", done.source, volumes, done=proof, seconds=done.seconds)
    return done


def load_and_compare(beside: Beside) -> Mapping[str, TableCheck]:
    """Everything that leaves the live database alone."""
    steps.check(beside)
    steps.fetch(beside)
    steps.load(beside)
    tables = steps.compare(beside)
    steps.smoke(beside)
    return tables


def fill_and_compare(besides: Sequence[VolumeBeside]) -> Mapping[str, VolumeCheck]:
    """Everything that leaves the live volumes alone."""
    volumes = {}
    for beside in besides:
        volume_steps.fill(beside)
        volumes[beside.volume] = volume_steps.compare(beside)
    return volumes


def _since(began: datetime) -> float:
    return (utc_now() - began).total_seconds()


@dataclass(frozen=True)
class Way:
    """How one kind of source is restored, and how it is proven."""

    restore: Callable[[Site, Any, RestoreOptions], Restored]
    drill: Callable[[Site, Any], Restored]


def require_fitting(source: Source | VolumeSource, *, volumes: Sequence[str]) -> None:
    """Raises UsageError for what no restore can do."""
    if volumes and not isinstance(source, VolumeSource):
        raise UsageError(
            f"{source.label} holds a database, and volumes were named ({', '.join(volumes)}).",
            state="Nothing was changed.",
            todo="Leave the volumes away, or choose a backup of volumes (`officeops backups`).",
        )


WAYS: Mapping[type, Way] = {
    BackupSource: Way(restore_database, drill_database),
    FileSource: Way(restore_database, drill_database),
    VolumeSource: Way(restore_volumes, drill_volumes),
}
UNDOINGS: Mapping[type, Callable[[Site, Any], Restored]] = {Undo: undo_database, VolumeUndo: undo_volumes}
