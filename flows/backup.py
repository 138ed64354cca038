"""The chapter on backups: every night, verified, kept as the runbook says."""

from __future__ import annotations

from typing import Literal

from prefect import flow
from pydantic import BaseModel, Field

from flows.naming import named
from officeops.backups.backup import Backup, Report
from tasks.backups import apply_retention, dump_database, dump_globals, fingerprint, hold_snapshot, publish, read_back, report_backup
from tasks.site import at_work
from tasks.steps import settle


class BackupOptions(BaseModel):
    """How a backup is made."""

    format: Literal["dump", "sql.gz"] = Field("dump", description="dump: restores in parallel. sql.gz: a script that people can read.")
    keep_all: bool = Field(False, description="Only say what retention would remove.")
    wait_minutes: float = Field(240, ge=0, description="How long to wait while something else changes the stack.")


@flow(name="nightly-backup", flow_run_name=named("backup"), description=__doc__, log_prints=True, persist_result=False)
def nightly_backup(options: BackupOptions | None = None) -> Report:
    """One snapshot; dump, globals and fingerprints of it at once; every object read back; the manifest last; old ones go."""
    options = options or BackupOptions()
    with at_work("backup", wait_minutes=options.wait_minutes) as site:
        with Backup.begin(site, form=options.format) as backup:
            hold_snapshot(backup)
            settle(dump_database.submit(backup), dump_globals.submit(backup), fingerprint.submit(backup))
            for target in backup.complete_targets():
                verified = read_back.submit(backup, target)
                settle(verified, publish.submit(backup, target, wait_for=[verified]))
            report = backup.report()
        report_backup(site, report)
        apply_retention(site, dry_run=options.keep_all)
    return report
