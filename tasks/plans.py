"""What people read before they approve, and the terms by which it is known whether that is still what would be done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from officeops.archive.states import BatchRecord
from officeops.clock import parse_iso
from officeops.releases.plans import DowngradePlan, Pending
from officeops.releases.preflight import Plan
from officeops.restores.latest import Undoable
from officeops.restores.source import BackupSource, FileSource, Source, VolumeSource
from officeops.site import Site
from officeops.stack.port import Release, short
from tasks import reporting


def release_terms(plan: Plan, schema: DowngradePlan | None = None) -> dict[str, Any]:
    """Of a deploy or a rollback: what would run instead of what, and what happens to the schema."""
    # Other values make another question; the values themselves are nobody's to read in the ledger.
    values = hashlib.sha256(json.dumps(sorted(plan.new.settings.items())).encode()).hexdigest()[:16]
    return {
        "from": plan.old.sha if plan.old else None, "to": plan.new.sha, "settings": sorted(plan.new.settings), "values": values,
        "strategy": plan.strategy,
        "migrations": [one.revision.id for one in plan.migrations.expand],
        "schema": schema.target if schema is not None and schema.needed else None,
    }  # fmt: skip


def rollback_plan(plan: Plan, schema: DowngradePlan) -> str:
    """The plan of a rollback with what its schema costs."""
    if not schema.needed:
        return plan.markdown()
    lost = "\n".join(f"- {one}" for one in schema.drops) or "- nothing that is known"
    return f"{plan.markdown()}\n**The schema goes back from {schema.current} to {schema.target}. Dropped:**\n\n{lost}\n"


def contract_plan(planned: Sequence[Pending]) -> str:
    """What would go from the schema."""
    lines = ["**Contract** revisions; a backup is made first.", ""]
    for one in planned:
        lines += [f"- `{one.revision.id}`: {one.revision.doc}", *(["", "```sql", one.sql.strip(), "```", ""] if one.sql else [])]
    return "\n".join(lines)


def downgrade_plan(plan: DowngradePlan) -> str:
    """What would be undone, and what that drops."""
    undone = [f"- `{one.id}`: {one.doc}" for one in plan.revisions]
    dropped = "; ".join(plan.drops) or ("nothing" if plan.sql is not None else "not known")
    head = f"**Downgrade** from `{plan.current}` to `{plan.target or 'base'}`; a backup is made first."
    return "\n".join([head, "", *undone, "", f"**Dropped:** {dropped}"])


def downgrade_terms(plan: DowngradePlan) -> dict[str, Any]:
    """From where to where, and what goes; not how many rows it has by now."""
    return {"from": plan.current, "to": plan.target, "drops": [str(one) for one in plan.dropped]}


def restore_plan(site: Site, source: Source | VolumeSource, options: Any) -> str:
    """What a restore would put in the place of what."""
    live = ", ".join(f"volume `{name}`" for name in _volumes(source, options)) or f"database `{site.stack.database().database}`"
    deployed = site.stack.deployed()
    facts = {
        "from": f"`{source.label}`",
        **_content(site, source),
        "replaces": live,
        "release that runs": short(deployed.sha) if deployed else "none",
    }
    stopped = ", ".join(site.config.runbook.writers()) or "nothing"
    steps = (
        "restore beside what is live, and compare every table or file with what was backed up",
        f"stop what writes ({stopped}) for a moment, swap, ask the live data, start it again",
        "what is live now is kept: `officeops restore --undo` swaps back",
    )
    lines = [f"**Restore** of the live data of {site.config.runbook.title}", "", *reporting.facts(facts), ""]
    return "\n".join([*lines, *(f"{number}. {step}" for number, step in enumerate(steps, 1))])


def restore_terms(site: Site, source: Source | VolumeSource, options: Any) -> dict[str, Any]:
    """What would be restored in the place of what."""
    return {"from": source.label, "volumes": _volumes(source, options), "database": site.stack.database().database}


def archive_plan(due: Sequence[BatchRecord]) -> str:
    """Which rows would leave the database."""
    lines = ["**Archive**: these rows leave the database. They are in files that were read back, and in a backup that was drilled.", ""]
    lines += ["| batch | policy | rows | bytes |", "|---|---|---|---|"]
    lines += [f"| `{one.id}` | {one.policy} | {one.contents.rows:,} | {one.contents.bytes:,} |" for one in due]
    return "\n".join([*lines, "", "`officeops unarchive BATCH` brings them back."])


def emergency_plan(site: Site, release: Release) -> str:
    """What would serve instead of what."""
    running = site.stack.deployed()
    serving = f"`{short(running.sha)}`" if running else "nothing"
    return f"**Emergency rollback** from {serving} to `{short(release.sha)}`, at once: no backup, nothing is watched afterwards."


def undo_plan(found: Undoable) -> str:
    """What would become live again."""
    rows = {f"`{live}`": f"becomes what `{previous}` holds" for live, previous in found.previous.items()}
    kept = "What is live now is kept, so that this can be undone too."
    return "\n".join([f"**Undo of the restore** `{found.restore}`", "", *reporting.facts(rows), "", kept])


def _volumes(source: Source | VolumeSource, options: Any) -> list[str]:
    return (options.volumes or list(source.manifest.volumes)) if isinstance(source, VolumeSource) else []


def _content(site: Site, source: Source | VolumeSource) -> dict[str, str]:
    if isinstance(source, FileSource):
        return {"content of": "a file: not known"}
    manifest, zone = source.manifest, site.config.settings.zone
    found = {"content of": f"{manifest.snapshot_at.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}", "bytes": f"{manifest.size:,}"}
    if isinstance(source, BackupSource):
        rows = sum(one.rows for one in source.manifest.fingerprint.tables.values())
        found["tables"] = f"{len(source.manifest.fingerprint.tables)}, {rows:,} rows"
    drills = [one for one in site.ledger.drills() if one.backup == manifest.id and one.ok]
    return {**found, "last restored in a drill": f"{parse_iso(drills[0].at).astimezone(zone):%Y-%m-%d %H:%M}" if drills else "never"}
