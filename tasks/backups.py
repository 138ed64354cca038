"""The steps of a backup."""

from __future__ import annotations

from officeops.backups import prune
from officeops.backups.backup import Backup
from officeops.backups.making import Making, Report
from officeops.backups.manifest import DatabaseManifest, Manifest, VolumeManifest
from officeops.site import Site
from tasks import events, reporting
from tasks.steps import step


@step("hold a snapshot", retries=3)
def hold_snapshot(backup: Backup) -> None:
    """One moment for all that follows."""
    backup.snapshot()


@step("dump the database", retries=2)
def dump_database(backup: Backup) -> None:
    """To every target that has it not yet."""
    backup.dump()


@step("dump roles and globals", retries=2)
def dump_globals(backup: Backup) -> None:
    """To every target that has them not yet."""
    backup.dump_globals()


@step("fingerprint every table", retries=1)
def fingerprint(backup: Backup) -> None:
    """On the snapshot that is dumped."""
    backup.fingerprint()


@step("read back", retries=3)
def read_back(backup: Making[Manifest], target: str) -> None:
    """Every object of one target, checksums compared."""
    backup.verify(target)


@step("publish", retries=3)
def publish(backup: Making[Manifest], target: str) -> None:
    """The manifest of one target."""
    backup.publish(target)


@step("apply retention", retries=1)
def apply_retention(site: Site, *, dry_run: bool) -> None:
    """Removes what no rule keeps, or says what it would remove."""
    plans = prune.plan(site) if dry_run else prune.prune(site)
    rows = [
        {"target": plan.target, "backup": decision.id, "kept": "yes" if decision.keep else "no", "why": ", ".join(decision.reasons)}
        for plan in plans
        for decision in plan.decisions
    ]
    reporting.table(
        "retention", site.name, rows, description="What is kept, and why" + (" (dry run: nothing was removed)" if dry_run else "")
    )


@step("report")
def report_backup(site: Site, report: Report[DatabaseManifest] | Report[VolumeManifest]) -> None:
    """What was made, for people."""
    manifest = report.manifest
    content = _of_volumes(manifest) if isinstance(manifest, VolumeManifest) else _of_database(manifest)
    lines = [
        f"## Backup `{manifest.id}`",
        f"Verified in {len(report.outcomes)} target(s), {manifest.size:,} bytes, {report.seconds:.1f} s.",
        "",
        "| | |",
        "|---|---|",
        f"| Content of | {manifest.snapshot_at.astimezone(site.config.settings.zone):%Y-%m-%d %H:%M:%S %Z} |",
        *content,
        f"| Release | {manifest.release} |",
        f"| Encrypted | {'to ' + ', '.join(manifest.codec.recipients) if manifest.codec.encryption else 'no'} |",
        "",
        f"Next: `officeops restore {manifest.id}`, or a restore drill, which proves it.",
    ]
    reporting.report("backup", site.name, "\n".join(lines), description=f"Backup {manifest.id}")
    if isinstance(manifest, DatabaseManifest) and report.verified:
        events.backup_verified(site, manifest.id)


def _of_database(manifest: DatabaseManifest) -> list[str]:
    rows = sum(counted.rows for counted in manifest.fingerprint.tables.values())
    return [
        f"| Database | {manifest.database.name}, {manifest.database.size_bytes:,} bytes, revision {manifest.database.revision} |",
        f"| Position in the log | {manifest.snapshot_lsn} |",
        f"| Tables | {len(manifest.fingerprint.tables)}, {rows:,} rows |",
    ]


def _of_volumes(manifest: VolumeManifest) -> list[str]:
    lines = []
    for name, content in manifest.volumes.items():
        still = f", {', '.join(content.stopped)} stopped meanwhile" if content.stopped else ""
        changed = f", {len(content.changed)} changed while they were read" if content.changed else ""
        lines.append(f"| Volume `{name}` | {content.files:,} files, {content.bytes:,} bytes{still}{changed} |")
    return lines
