"""The chapter on backups: the database and the volumes, every night, verified, kept as the runbook says."""

from __future__ import annotations

from typing import Literal

from prefect import flow
from pydantic import Field

from flows.naming import named
from flows.options import Options, waiting
from officeops.backups.backup import Backup, Form
from officeops.backups.making import Report
from officeops.backups.manifest import DatabaseManifest, VolumeManifest
from officeops.site import Site
from officeops.volumes.backup import VolumeBackup
from tasks import volumes as steps
from tasks.account import accounted
from tasks.backups import apply_retention, dump_database, dump_globals, fingerprint, hold_snapshot, publish, read_back, report_backup
from tasks.site import at_work
from tasks.steps import settle


class BackupOptions(Options):
    """How a backup of the database is made."""

    format: Literal["dump", "sql.gz"] = Field("dump", description="dump: restores in parallel. sql.gz: a script that people can read.")
    keep_all: bool = Field(False, description="Only say what retention would remove.")
    wait_minutes: float = waiting()


class VolumeBackupOptions(Options):
    """How a backup of volumes is made."""

    kind: Literal["volumes", "basebackup"] = Field(
        "volumes", description="volumes: tars of them. basebackup: the database server's volume, by pg_basebackup, while it runs."
    )
    volumes: list[str] = Field([], description="Names of volumes; none: all but the database's.")
    keep_all: bool = Field(False, description="Only say what retention would remove.")
    wait_minutes: float = waiting()


@flow(name="nightly-backup", flow_run_name=named("backup"), description="Backs the database up.", log_prints=True, persist_result=False)
@accounted("backup")
def nightly_backup(options: BackupOptions = BackupOptions()) -> Report[DatabaseManifest]:
    """One snapshot; dump, globals and fingerprints of it at once; every object read back; the manifest last; old ones go."""
    with at_work("backup", wait_minutes=options.wait_minutes) as site:
        report = back_up_database(site, form=options.format)
        apply_retention(site, dry_run=options.keep_all)
    return report


def back_up_database(site: Site, *, form: Form = "dump") -> Report[DatabaseManifest]:
    """The database, in every target, read back. The caller is at work on the site."""
    with Backup.begin(site, form=form) as backup:
        hold_snapshot(backup)
        settle(dump_database.submit(backup), dump_globals.submit(backup), fingerprint.submit(backup))
        for target in backup.complete_targets():
            verified = read_back.submit(backup, target)
            settle(verified, publish.submit(backup, target, wait_for=[verified]))
        report = backup.report()
    report_backup(site, report)
    return report


@flow(
    name="volume-backup",
    flow_run_name=named("backup", "kind"),
    description="Backs volumes up.",
    log_prints=True,
    persist_result=False,
)
@accounted("backup")
def volume_backup(options: VolumeBackupOptions = VolumeBackupOptions()) -> Report[VolumeManifest]:
    """Each volume read once for all targets, its services stopped meanwhile where it must be quiet; read back; the manifest last."""
    with at_work(f"backup of {options.kind}", wait_minutes=options.wait_minutes) as site:
        with VolumeBackup.begin(site, kind=options.kind, volumes=options.volumes) as backup:
            for volume in backup.volumes:
                with steps.standing_still(backup, volume):
                    settle(steps.copy.submit(backup, volume))
            for target in backup.complete_targets():
                verified = read_back.submit(backup, target)
                settle(verified, publish.submit(backup, target, wait_for=[verified]))
            report = backup.report()
        report_backup(site, report)
        apply_retention(site, dry_run=options.keep_all)
    return report
