"""Backups of volumes on stacks that run: who stands still meanwhile, and the database server's own files."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import pytest

from officeops.errors import OfficeOpsError
from officeops.order import put_in_order
from officeops.postgres import tools
from officeops.volumes.backup import VolumeBackup
from officeops.volumes.entries import entries
from officeops.volumes.restore import VolumeRestore
from tests.stack.test_conformance import psql
from tests.support.killing import undo
from tests.support.ports import eventually
from tests.support.stack import RunningStack
from tests.support.volumes import back_up, drill, fill_and_compare, restore, source

pytestmark = pytest.mark.xdist_group("stack")


@pytest.fixture
def uploads(running: RunningStack) -> Iterator[RunningStack]:
    """A stack with a file in its quiet volume, which the backend uses; without what restores set aside afterwards."""
    if "uploads" not in {one.name for one in running.stack.volumes()}:
        running.stack.create_volume("uploads")
    put(running, "photo", b"a photo")
    yield running
    for volume in running.stack.volumes():
        if not volume.services:
            running.stack.remove_volume(volume.name)


def put(running: RunningStack, name: str, content: bytes) -> None:
    file, member = io.BytesIO(), tarfile.TarInfo(f"./{name}")
    member.size = len(content)
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(member, io.BytesIO(content))
    tools.feed(running.stack.import_volume("uploads"), [file.getvalue()], timeout=60)


def names(running: RunningStack, volume: str = "uploads") -> set[bytes]:
    return {one.path for one in entries(tools.output(running.stack.export_volume(volume), timeout=60))}


def test_only_the_users_of_a_quiet_volume_stand_still_while_it_is_copied(uploads: RunningStack) -> None:
    before = {one.name: one for one in uploads.stack.services()}
    with VolumeBackup.begin(uploads.site, volumes=["uploads"]) as backup:
        backup.stop_users("uploads")
        assert {one.name for one in uploads.stack.services() if one.state == "stopped"} == {"backend"}
        backup.copy("uploads")
        backup.start_users("uploads")
        assert uploads.service("backend").health == "healthy"
    after = {one.name: one for one in uploads.stack.services()}
    assert {name for name in before if before[name].started_at != after[name].started_at} == {"backend"}


def test_a_service_that_was_stopped_stays_stopped(uploads: RunningStack) -> None:
    uploads.stack.stop("backend")
    assert back_up(uploads.site, "uploads").manifest.volumes["uploads"].stopped == ()
    assert uploads.service("backend").state == "stopped"
    uploads.stack.start("backend")


def test_a_failed_run_leaves_its_services_as_they_were_found(uploads: RunningStack) -> None:
    with pytest.raises(KeyboardInterrupt), VolumeBackup.begin(uploads.site, volumes=["uploads"]) as backup:
        backup.stop_users("uploads")
        raise KeyboardInterrupt
    assert uploads.service("backend").health == "healthy"


def test_what_a_killed_run_stopped_is_started_by_the_next_command(uploads: RunningStack) -> None:
    killed = VolumeBackup.begin(uploads.site, volumes=["uploads"])
    killed.stop_users("uploads")
    assert uploads.service("backend").state == "stopped"
    # The process is gone here: nothing of its own cleaning up runs.
    assert put_in_order(uploads.site) == []
    assert uploads.service("backend").health == "healthy"
    operation = uploads.site.ledger.operation(killed.id)
    assert operation is not None
    assert (operation.outcome, operation.facts["stopped"]) == ("failed", [])


def test_a_volume_is_restored_and_its_users_run_again(uploads: RunningStack) -> None:
    assert back_up(uploads.site, "uploads").manifest.volumes["uploads"].stopped == ("backend",)
    put(uploads, "a virus", b"bad")
    previous = restore(uploads.site)
    assert b"a virus" not in names(uploads)
    assert b"photo" in names(uploads)
    assert {b"a virus", b"photo"} <= names(uploads, previous["uploads"])
    assert uploads.service("backend").health == "healthy"


def test_the_running_server_gives_a_base_backup_that_it_can_start_from_again(uploads: RunningStack) -> None:
    psql(uploads.stack, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 'before' AS word")
    report = back_up(uploads.site, kind="basebackup")
    assert report.manifest.volumes.keys() == {"db_data"}
    assert drill(uploads.site, source(uploads.site, "latest:basebackup")).keys() == {"db_data"}
    psql(uploads.stack, "UPDATE kept SET word = 'after'")
    restore(uploads.site, source(uploads.site, "latest:basebackup"))
    assert psql(uploads.stack, "SELECT word FROM kept") == "before"
    assert {one.health for one in uploads.stack.services()} == {"healthy"}
    eventually(lambda: uploads.get("/ready").status_code == 200, what="readiness")
    undo(uploads.site)
    assert psql(uploads.stack, "SELECT word FROM kept") == "after"
    psql(uploads.stack, "DROP TABLE kept")


@pytest.mark.parametrize("reached", ["stopped", "swapped"])
def test_a_killed_restore_of_the_server_is_ended_by_the_next_command(uploads: RunningStack, reached: str) -> None:
    psql(uploads.stack, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 'before' AS word")
    back_up(uploads.site, kind="basebackup")
    psql(uploads.stack, "UPDATE kept SET word = 'after'")
    killed = VolumeRestore.begin(uploads.site, source(uploads.site, "latest:basebackup"))
    fill_and_compare(killed.besides)
    assert killed.swap.stop_users() == ("postgres", "backend")
    if reached == "swapped":
        killed.swap.swap()
    assert put_in_order(uploads.site) == []
    assert psql(uploads.stack, "SELECT word FROM kept") == ("before" if reached == "swapped" else "after")
    assert {one.health for one in uploads.stack.services()} == {"healthy"}
    psql(uploads.stack, "DROP TABLE kept")


def test_a_server_that_does_not_start_from_what_was_restored_gets_its_own_files_back(uploads: RunningStack) -> None:
    psql(uploads.stack, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 'mine' AS word")
    back_up(uploads.site, kind="basebackup")
    with (
        pytest.raises(OfficeOpsError, match="postgres"),
        VolumeRestore.begin(uploads.site, source(uploads.site, "latest:basebackup")) as run,
    ):
        fill_and_compare(run.besides)
        spoil(uploads, run.besides[0].name)
        run.swap.stop_users()
        run.swap.swap()
        run.swap.start_users()
    assert psql(uploads.stack, "SELECT word FROM kept") == "mine"
    assert {one.health for one in uploads.stack.services()} == {"healthy"}
    psql(uploads.stack, "DROP TABLE kept")


def spoil(running: RunningStack, volume: str) -> None:
    """As if the log's control file were damaged."""
    file, member = io.BytesIO(), tarfile.TarInfo("./global/pg_control")
    found = {one.path: one for one in entries(tools.output(running.stack.export_volume(volume), timeout=60))}[b"global/pg_control"]
    member.size, member.uid, member.gid, member.mode = found.size, found.uid, found.gid, found.mode
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(member, io.BytesIO(b"x" * found.size))
    tools.feed(running.stack.import_volume(volume), [file.getvalue()], timeout=60)
