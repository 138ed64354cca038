"""The verbs of a backup and of a restore in the flows' order, without a Prefect server."""

from __future__ import annotations

from officeops.backups.alone import back_up
from officeops.restores.beside import Beside, TableCheck
from officeops.restores.drill import Drill
from officeops.restores.source import BackupSource, Source
from officeops.site import Site
from tasks.restores import find_backup

__all__ = ["back_up"]


def source(site: Site, backup: str = "latest", target: str | None = None) -> BackupSource:
    """A backup to restore from."""
    return find_backup(site, backup, target=target, identity=site.config.settings.backup_age_identity_file)


def load_beside(beside: Beside) -> dict[str, TableCheck]:
    """Everything that leaves the live database alone."""
    beside.check()
    beside.fetch()
    beside.load()
    tables = beside.compare()
    beside.smoke()
    return dict(tables)


def drill(site: Site, given: Source | None = None) -> dict[str, TableCheck]:
    """A whole restore drill."""
    chosen = given or source(site)
    assert isinstance(chosen, BackupSource)
    with Drill.begin(site, chosen) as run:
        tables = load_beside(run.beside)
        run.beside.check_structure()
    return tables
