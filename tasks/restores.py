"""The steps of a restore and of a drill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from officeops.backups.catalogue import find
from officeops.backups.objects import load_manifest
from officeops.errors import OfficeOpsError, UsageError
from officeops.restores.beside import Beside, TableCheck
from officeops.restores.latest import Undoable, undoable
from officeops.restores.restore import Swap
from officeops.restores.source import BackupSource, FileSource, VolumeSource, opened
from officeops.site import Site
from tasks import reporting
from tasks.steps import step


@step("find the backup", retries=2)
def find_source(site: Site, backup: str, *, target: str | None, identity: Path | None) -> BackupSource | FileSource | VolumeSource:
    """The backup of an id (in `target`, or the first that has it whole), or a dump file by its path."""
    path = Path(backup).expanduser()
    if "/" in backup or path.suffix or path.is_file():
        if not path.is_file():
            raise UsageError(f"There is no file {backup!r}.", state="Nothing was changed.", todo="`officeops backups` lists backups by id.")
        return FileSource(path.absolute(), identity or site.config.settings.backup_age_identity_file)
    return find_backup(site, backup, target=target, identity=identity)


@step("find the backup", retries=2)
def find_stored(site: Site, backup: str, *, target: str | None) -> BackupSource | VolumeSource:
    """The backup of an id, in `target` or the first that has it whole."""
    return find_backup(site, backup, target=target, identity=None)


def find_backup(site: Site, backup: str, *, target: str | None, identity: Path | None) -> BackupSource | VolumeSource:
    """A backup in the first target that answers with its manifest."""
    entry, identity = find(site, backup), identity or site.config.settings.backup_age_identity_file
    copies = [copy for copy in entry.copies if target in (None, copy.target) and not copy.problem]
    failures = []
    for copy in copies:
        store = site.targets.get(copy.target)
        if store is None:
            failures.append(OfficeOpsError(f"{copy.target} is not in BACKUP_TARGETS"))
            continue
        try:
            manifest = load_manifest(store, site.name, entry.id)
        except OfficeOpsError as error:
            failures.append(error)
            continue
        return opened(store, manifest, identity)
    why = "; ".join(map(str, failures)) or f"no whole copy{f' in {target}' if target else ''}"
    error = OfficeOpsError(f"The backup {entry.id} cannot be read: {why}.", state="Nothing was changed.")
    error.transient = any(failure.transient for failure in failures)
    raise error


@step("find what the last restore set aside", retries=2)
def find_undoable(site: Site) -> Undoable:
    """Changes nothing."""
    return undoable(site)


@step("check preconditions", retries=2)
def check(beside: Beside) -> None:
    """Version, extensions, disk."""
    beside.check()


@step("fetch and decode", retries=2)
def fetch(beside: Beside) -> None:
    """Checked to the last byte."""
    beside.fetch()


@step("load", retries=1)
def load(beside: Beside) -> None:
    """Into a database of its own."""
    beside.load()


@step("compare fingerprints", retries=1)
def compare(beside: Beside) -> Mapping[str, TableCheck]:
    """With what was backed up."""
    return beside.compare()


@step("check heaps and indexes")
def check_structure(beside: Beside) -> None:
    """amcheck."""
    beside.check_structure()


@step("ask the smoke queries")
def smoke(beside: Beside) -> None:
    """Those of the runbook."""
    beside.smoke()


@step("gather statistics")
def analyze(beside: Beside) -> None:
    """For the planner."""
    beside.analyze()


@step("stop the writers")
def stop_writers(swap: Swap) -> None:
    """Those that run."""
    swap.stop_writers()


@step("swap the databases")
def swap_databases(swap: Swap) -> None:
    """In one transaction."""
    swap.swap()


@step("ask the live database")
def ask_live(swap: Swap) -> None:
    """The runbook's questions, before anybody writes."""
    swap.ask()


@step("start the writers")
def start_writers(swap: Swap) -> None:
    """And wait until they are healthy."""
    swap.start_writers()


@step("report")
def report_undo(site: Site, plan: str) -> None:
    """What a dry run would make live again."""
    reporting.report("restore-undo-plan", site.name, plan, description="What would become live again")


@step("report")
def report_restore(
    site: Site, title: str, source: str, tables: Mapping[str, TableCheck], *, done: str, seconds: float, why: str = ""
) -> None:
    """What was restored, for people."""
    equal = sum(check.match for check in tables.values())
    figures = {
        "from": f"`{source}`", "why": why or "not said", "all of it took": f"{seconds:.1f} s", "tables": f"{len(tables)}, {equal} as backed up",
        "rows": f"{sum(check.rows for check in tables.values()):,}",
    }  # fmt: skip
    text = "\n".join([f"## {title}", *reporting.facts(figures), "", done])
    reporting.report(title, site.name, text, description=f"{title} from {source}")
    rows = [
        {"table": name, "rows": check.rows, "expected": check.expected, "equal": check.match} for name, check in list(tables.items())[:200]
    ]
    reporting.table(
        f"{title}-tables", site.name, rows, description="Tables and their rows" + (" (the first 200)" if len(tables) > 200 else "")
    )
