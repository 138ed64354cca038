"""The chapter on restores: beside the live database, proven, then swapped; its undoing; and the weekly drill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prefect import flow
from pydantic import BaseModel, Field

from flows.naming import named
from officeops.clock import utc_now
from officeops.restores.beside import Beside, TableCheck
from officeops.restores.drill import Drill
from officeops.restores.restore import Restore, Undo
from officeops.restores.source import BackupSource
from tasks import restores as steps
from tasks.site import at_work


class RestoreOptions(BaseModel):
    """What is restored."""

    backup: str = Field(
        description="Id of a backup (or the beginning of one, or `latest`), or the path of a .sql, .dump, .gz, .zst or .age file."
    )
    target: str | None = Field(None, description="Take it from this target; default: the first that has it whole.")
    identity: Path | None = Field(None, description="File with the age secret key; default: BACKUP_AGE_IDENTITY_FILE.")
    dry_run: bool = Field(False, description="Restore beside the live database and compare, swap nothing.")
    wait_minutes: float = Field(240, ge=0, description="How long to wait while something else changes the stack.")


class UndoOptions(BaseModel):
    """Undoing the last restore."""

    wait_minutes: float = Field(240, ge=0, description="How long to wait while something else changes the stack.")


class DrillOptions(BaseModel):
    """Which backup is proven."""

    backup: str = Field("latest", description="Id of a backup, or `latest`: the newest that some target holds whole.")
    target: str | None = Field(None, description="Take it from this target; default: the first that has it whole.")
    wait_minutes: float = Field(240, ge=0, description="How long to wait while something else changes the stack.")


@dataclass(frozen=True)
class Restored:
    """What a restore or a drill ended with. previous: the database that was live before, None when nothing was swapped."""

    source: str
    tables: Mapping[str, TableCheck]
    seconds: float
    previous: str | None


@flow(
    name="restore",
    flow_run_name=named("restore", "backup"),
    description="Restore beside the live database, compare, swap.",
    persist_result=False,
)
def restore(options: RestoreOptions) -> Restored:
    """Until the swap the live database serves; after it the previous one stays for an instant way back."""
    began = utc_now()
    with at_work(f"restore of {options.backup}", wait_minutes=options.wait_minutes) as site:
        source = steps.find_source(site, options.backup, target=options.target, identity=options.identity)
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
        done = Restored(source.label, tables, (utc_now() - began).total_seconds(), run.swap.previous)
        outcome = (
            f"The previous database is `{done.previous}`; `officeops restore --undo` swaps back."
            if done.previous
            else "Nothing was swapped."
        )
        steps.report_restore(site, "restore", done.source, tables, done=outcome, seconds=done.seconds)
    return done


@flow(
    name="restore-undo",
    flow_run_name=named("undo the restore"),
    description="The previous database becomes the live one again.",
    persist_result=False,
)
def restore_undo(options: UndoOptions | None = None) -> Restored:
    """The way back from a restore, in seconds."""
    began, options = utc_now(), options or UndoOptions()
    with at_work("undo of a restore", wait_minutes=options.wait_minutes) as site:
        with Undo.begin(site) as run:
            steps.stop_writers(run.swap)
            steps.swap_databases(run.swap)
            steps.start_writers(run.swap)
            run.swap.finish()
        done = Restored(run.swap.candidate, {}, (utc_now() - began).total_seconds(), run.swap.previous)
        steps.report_restore(
            site, "restore", done.source, {}, done=f"It is live again; the other is `{done.previous}`.", seconds=done.seconds
        )
    return done


@flow(
    name="restore-drill",
    flow_run_name=named("restore drill", "backup"),
    description="A backup restored, compared, checked, dropped.",
    persist_result=False,
)
def restore_drill(options: DrillOptions | None = None) -> Restored:
    """The only proof of a backup. One that could not run has failed."""
    began, options = utc_now(), options or DrillOptions()
    with at_work("restore drill", wait_minutes=options.wait_minutes) as site:
        source = steps.find_source(site, options.backup, target=options.target, identity=None)
        assert isinstance(source, BackupSource), "a drill proves a backup, not a file"
        with Drill.begin(site, source) as drill:
            tables = load_and_compare(drill.beside)
            steps.check_structure(drill.beside)
        done = Restored(source.label, tables, (utc_now() - began).total_seconds(), None)
        proof = "Fingerprints equal, structure sound, smoke queries answered. The scratch database is gone."
        steps.report_restore(site, "drill", done.source, tables, done=proof, seconds=done.seconds)
    return done


def load_and_compare(beside: Beside) -> Mapping[str, TableCheck]:
    """Everything that leaves the live database alone."""
    steps.check(beside)
    steps.fetch(beside)
    steps.load(beside)
    tables = steps.compare(beside)
    steps.smoke(beside)
    return tables
