"""Volumes of a site that has folders for them, and the verbs of their backups in the flows' order, without a Prefect server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from officeops.backups.making import Report
from officeops.backups.manifest import VolumeManifest
from officeops.errors import OfficeOpsError
from officeops.restores.source import VolumeSource
from officeops.site import Site
from officeops.stack.local.postgres import PostgresServer
from officeops.volumes.backup import VolumeBackup, VolumeKind
from officeops.volumes.beside import VolumeBeside, VolumeCheck
from officeops.volumes.drill import VolumeDrill
from officeops.volumes.restore import VolumeRestore
from tasks.restores import find_backup
from tests.support.ports import free_ports
from tests.support.postgres import Running
from tests.support.site import RUNBOOK, make_site


def back_up(site: Site, *volumes: str, kind: VolumeKind = "volumes") -> Report[VolumeManifest]:
    """As the flow does."""
    with VolumeBackup.begin(site, kind=kind, volumes=volumes) as backup:
        for volume in backup.volumes:
            backup.stop_users(volume)
            with suppress(OfficeOpsError):  # as in the flow: the report says what failed
                backup.copy(volume)
            backup.start_users(volume)
        for target in backup.complete_targets():
            with suppress(OfficeOpsError):
                backup.verify(target)
                backup.publish(target)
        return backup.report()


def source(site: Site, backup: str = "latest:volumes", target: str | None = None) -> VolumeSource:
    """A backup to restore from."""
    found = find_backup(site, backup, target=target, identity=None)
    assert isinstance(found, VolumeSource)
    return found


def fill_and_compare(besides: Sequence[VolumeBeside]) -> dict[str, VolumeCheck]:
    """Everything that leaves the live volumes alone."""
    found = {}
    for beside in besides:
        beside.fill()
        found[beside.volume] = beside.compare()
    return found


def drill(site: Site, given: VolumeSource | None = None) -> dict[str, VolumeCheck]:
    """A whole drill."""
    with VolumeDrill.begin(site, given or source(site)) as run:
        return fill_and_compare(run.besides)


def restore(site: Site, given: VolumeSource | None = None, *volumes: str) -> dict[str, str]:
    """As the flow does. Returns the previous volumes."""
    with VolumeRestore.begin(site, given or source(site), volumes=volumes) as run:
        fill_and_compare(run.besides)
        run.swap.stop_users()
        run.swap.swap()
        run.swap.start_users()
        run.finish()
    return run.previous


RUNBOOK_WITH_VOLUMES = (
    RUNBOOK
    + """
volumes:
  uploads: {}
  mail: {folder: kept/mail}
"""
)


def make_volume_site(folder: Path, runbook: str = RUNBOOK_WITH_VOLUMES, **env: str) -> Site:
    """A site with two volumes, whose database server does not run. env: further keys of .env."""
    server = PostgresServer("postgres", folder / "postgres", free_ports(1)[0], "office", SecretStr("not asked for"))
    site = make_site(folder, Running(server), "office", runbook, **env)
    for path in (place(site, "uploads"), place(site, "mail")):
        path.mkdir(parents=True)
    write(place(site, "uploads"), 20)
    (place(site, "mail") / "inbox").write_text("one letter")
    return site


def place(site: Site, volume: str) -> Path:
    """The folder of a volume."""
    return {"uploads": site.home / "uploads", "mail": site.home / "kept" / "mail"}.get(volume, site.home / "volumes" / volume)


def write(folder: Path, files: int) -> None:
    """Files with names and kinds of which some tool somewhere is afraid."""
    for number in range(files):
        (folder / f"{number}.txt").write_text(f"file {number}\n" * number)
    (folder / "empty folder").mkdir()
    (folder / "empty").touch()
    (folder / "two\nlines").touch()
    (folder / "日本語").write_text("中身")
    Path(os.fsdecode(os.fsencode(folder) + b"/not \xff utf-8")).write_text("y")
    with (folder / "holes").open("wb") as file:
        file.truncate(50_000_000)
        file.seek(30_000_000)
        file.write(b"an island")
    (folder / "one").write_text("two names")
    os.link(folder / "one", folder / "a second name")
    (folder / "nowhere").symlink_to("../../no such")
    (folder / "setuid").write_text("#!")
    (folder / "setuid").chmod(0o4755)
    if os.geteuid() == 0:
        os.chown(folder / "setuid", 1234, 4321, follow_symlinks=False)
        (folder / "setuid").chmod(0o4755)


def content(folder: Path) -> dict[str, object]:
    """What a person sees of a folder: names, kinds, owners, modes, times, contents."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        seen = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else os.readlink(path) if path.is_symlink() else None
        time = int(seen.st_mtime) if path.is_file() else None
        found[str(path.relative_to(folder))] = (seen.st_mode, seen.st_uid, seen.st_gid, seen.st_nlink, time, data)
    return found
