"""The last step of the disk's ladder: archived rows leave only when they may."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from officeops.remedies import Patient
from officeops.remedies.room import Disk, nothing_archived, remove_archived
from officeops.site import Site
from tests.support.archives import POLICY, TALKS, counts, export, fill, proven, runbook
from tests.support.postgres import Running
from tests.support.site import make_site

Sql = Callable[..., list[tuple[object, ...]]]


def archive_step(site: Site) -> str:
    """Why it makes no sense, as the ladder says it."""
    (step,) = [one for one in Disk().ladder(Patient(site, "host.disk", "disk")) if one.name == "archive"]
    return step.why_not()


def test_rows_leave_only_once_they_are_in_files_and_a_newer_backup_was_drilled(
    folder: Path, postgres: Running, database: str, run_sql: Sql
) -> None:
    run_sql(TALKS)
    fill(run_sql)
    site = make_site(folder, postgres, database, runbook(POLICY))
    whole = counts(run_sql)
    assert "nothing was archived" in archive_step(site)
    export(site)
    assert "has been restored in a drill" in archive_step(site)
    with site.locked("heal host"):
        assert remove_archived(site) == "left the database: nothing"
    assert counts(run_sql) == whole
    proven(site)
    assert archive_step(site) == ""
    with site.locked("heal host"):
        assert "(" in remove_archived(site)
    assert counts(run_sql)[0] == 5
    assert "nothing was archived" in nothing_archived(site)


def test_a_runbook_without_archives_has_none(folder: Path, postgres: Running, database: str) -> None:
    assert "nothing was archived" in archive_step(make_site(folder, postgres, database, runbook()))
