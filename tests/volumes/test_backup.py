"""A backup of volumes: what goes in comes out; what can go wrong leaves nothing half-published."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import pyrage
import pytest

from officeops.backups import catalogue, prune
from officeops.backups.backup import BackupError
from officeops.backups.manifest import VolumeManifest
from officeops.backups.objects import load_manifest, put_away_unfinished
from officeops.errors import OfficeOpsError, RefusedError, UsageError
from officeops.ledger import Copy
from officeops.runbook.model import Volume
from officeops.site import Site
from officeops.volumes import backup as volumes_backup
from officeops.volumes.backup import VolumeBackup
from officeops.volumes.overview import overview
from tests.support.disks import tiny_disk
from tests.support.s3 import KEYS, S3Endpoint, misbehaving
from tests.support.site import PROJECT
from tests.support.volumes import back_up, drill, place, source

NewSite = Callable[..., Site]


def nothing_published(site: Site) -> bool:
    return catalogue.entries(site) == [] and all(list(store.list()) == [] for store in site.targets.values())


def stored(site: Site, name: str) -> Path:
    """The file of an object in the first target."""
    (path,) = Path(next(iter(site.targets)).removeprefix("file:")).glob(f"*/backups/*/{name}.*")
    return path


def test_a_backup_is_verified_listed_and_can_be_drilled(site: Site) -> None:
    report = back_up(site)
    assert report.verified
    assert report.manifest.volumes.keys() == {"uploads", "mail"}
    assert report.manifest.volumes["mail"].files == 1
    checks = drill(site)
    assert checks["uploads"].files == report.manifest.volumes["uploads"].files
    (entry,) = catalogue.entries(site)
    assert (entry.id, entry.kind, entry.verified) == (report.manifest.id, "volumes", True)
    assert entry.drilled_at is not None
    assert not (site.home / "spool" / entry.id).exists()


def test_the_digest_is_that_of_the_list(site: Site) -> None:
    manifest = back_up(site).manifest
    for name, content in manifest.volumes.items():
        assert content.digest == manifest.objects[f"{name}.jsonl"].plain_sha256
        assert content.entries == len(b"".join(source(site).entries(name)).splitlines())


def test_only_what_was_named_is_backed_up(site: Site) -> None:
    assert back_up(site, "mail", "mail").manifest.objects.keys() == {"mail.tar", "mail.jsonl"}


def test_what_a_restore_set_aside_is_not_backed_up_unless_it_is_named(site: Site) -> None:
    site.stack.create_volume("uploads_prev_1")
    assert "uploads_prev_1" not in back_up(site).manifest.volumes
    assert back_up(site, "uploads_prev_1").manifest.volumes.keys() == {"uploads_prev_1"}


def test_goes_to_every_target_at_once_encrypted(new_site: NewSite, s3: S3Endpoint) -> None:
    identity, bucket = pyrage.x25519.Identity.generate(), s3.new_bucket()
    site = new_site(
        BACKUP_TARGETS=f"file:targets/one s3://{bucket}/night?endpoint={s3.url}",
        BACKUP_AGE_RECIPIENTS=str(identity.to_public()),
        BACKUP_AGE_IDENTITY_FILE="identity.txt",
        **KEYS,
    )
    (site.config.folder / "identity.txt").write_text(str(identity))
    report = back_up(site)
    assert report.manifest.objects["uploads.jsonl"].key.endswith("uploads.jsonl.zst.age")
    first, second = (load_manifest(store, site.name, report.manifest.id) for store in site.targets.values())
    assert first == second == report.manifest
    for target in site.targets:
        assert drill(site, source(site, target=target)).keys() == {"uploads", "mail"}


def test_one_target_that_is_full_costs_the_other_nothing(new_site: NewSite, folder: Path) -> None:
    with tiny_disk(folder / "tiny") as disk:
        site = new_site(BACKUP_TARGETS=f"file:{disk} file:targets/two")
        (place(site, "uploads") / "large").write_bytes(os.urandom(2_000_000))
        with pytest.raises(BackupError, match="no space left") as failed:
            back_up(site)
        assert "complete and verified in file:" in failed.value.state
        full, roomy = site.targets
        assert list(site.targets[full].list()) == []
        (entry,) = catalogue.entries(site)
        assert ([copy.target for copy in entry.copies], entry.verified) == ([roomy], False)
        assert drill(site, source(site, entry.id))["uploads"].bytes > 2_000_000


def test_a_target_that_comes_back_gets_what_the_other_has(new_site: NewSite, s3: S3Endpoint) -> None:
    away = [True]
    with misbehaving(s3, lambda method, path: 503 if away[0] and method == "PUT" and "uploads.tar" in path else None) as flaky:
        recipient = str(pyrage.x25519.Identity.generate().to_public())  # each encryption gives other bytes
        targets = f"file:targets/one s3://{s3.new_bucket()}?endpoint={flaky.url}"
        site = new_site(BACKUP_TARGETS=targets, BACKUP_AGE_RECIPIENTS=recipient, **KEYS)
        with VolumeBackup.begin(site, volumes=["uploads"]) as backup:
            with pytest.raises(OfficeOpsError):
                backup.copy("uploads")
            (place(site, "uploads") / "written meanwhile").touch()
            away[0] = False
            backup.copy("uploads")
            for target in backup.complete_targets():
                backup.verify(target)
                backup.publish(target)
            assert backup.report().verified


def test_an_unknown_volume_is_a_mistake_of_the_caller(site: Site) -> None:
    with pytest.raises(UsageError, match="no volume 'upload'") as refused:
        VolumeBackup.begin(site, volumes=["upload"])
    assert "uploads" in refused.value.todo
    assert site.ledger.operations("backup") == []


def with_volume(site: Site, name: str, volume: Volume) -> Site:
    """The site with another volume in its runbook."""
    runbook = site.config.runbook.model_copy(update={"volumes": {**site.config.runbook.volumes, name: volume}})
    return Site(replace(site.config, runbook=runbook), site.clock)


@pytest.fixture
def with_database(site: Site) -> Site:
    (site.home / "postgres" / "data").mkdir(parents=True)
    return with_volume(site, "db_data", Volume(services=("postgres",), folder="postgres"))


def test_the_databases_volume_is_refused_with_the_reason_and_what_to_do_instead(with_database: Site) -> None:
    with pytest.raises(RefusedError, match="holds the running database") as refused:
        VolumeBackup.begin(with_database, volumes=["db_data"])
    assert "--kind basebackup" in refused.value.todo
    assert "db_data" not in back_up(with_database).manifest.volumes
    with pytest.raises(UsageError, match="is of db_data, not of mail"):
        VolumeBackup.begin(with_database, kind="basebackup", volumes=["mail"])


def test_a_base_backup_needs_to_know_which_volume_is_the_databases(site: Site) -> None:
    with pytest.raises(UsageError, match="No volume is known"):
        VolumeBackup.begin(site, kind="basebackup")


@pytest.fixture
def while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Does something in the middle of the reading of an export: its pipe holds far less than a file of 20 MB."""

    def arrange(act: Callable[[], object]) -> None:
        def reading(reader: IO[bytes]) -> Iterator[bytes]:
            yield reader.read(4096)
            act()
            while chunk := reader.read(1 << 20):
                yield chunk

        monkeypatch.setattr(volumes_backup, "read_chunks", reading)

    return arrange


@pytest.fixture
def large(site: Site) -> Path:
    path = place(site, "mail") / "large"
    path.write_bytes(os.urandom(20_000_000))
    return path


CHANGES = {
    "shrinks": (lambda path: os.truncate(path, 5_000_000), "file changed as we read it|shrank"),
    "grows": (lambda path: path.open("ab").write(b"more"), "file changed as we read it"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_in_a_volume_that_need_not_be_quiet_is_named(
    site: Site, large: Path, while_it_is_read: Callable[[Callable[[], object]], None], change: str
) -> None:
    act, _ = CHANGES[change]
    while_it_is_read(lambda: act(large))
    report = back_up(site, "mail")
    assert any("large" in line for line in report.manifest.volumes["mail"].changed)
    assert drill(site)["mail"].bytes == 20_000_000 + len("one letter")


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_in_a_quiet_volume_is_an_error(
    site: Site, large: Path, while_it_is_read: Callable[[Callable[[], object]], None], change: str
) -> None:
    act, says = CHANGES[change]
    quiet = with_volume(site, "mail", Volume(folder="kept/mail", quiet=True))
    while_it_is_read(lambda: act(large))
    with pytest.raises(BackupError, match=says):
        back_up(quiet, "mail")
    assert nothing_published(quiet)


def test_a_file_that_cannot_be_read_is_an_error_in_any_volume(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes_backup, "read_chunks", lambda reader: iter([reader.read(600)]))
    with pytest.raises(BackupError):
        back_up(site, "mail")
    assert nothing_published(site)


@pytest.mark.parametrize("name", ["uploads.tar", "uploads.jsonl"])
@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data[: len(data) // 2] + b"!" + data[len(data) // 2 + 1 :]], ids=["cut", "altered"]
)
def test_a_damaged_object_is_found_and_never_restored(site: Site, name: str, change: Callable[[bytes], bytes]) -> None:
    made = back_up(site).manifest.id
    path = stored(site, name)
    path.write_bytes(change(path.read_bytes()))
    (checked,) = catalogue.verify(site, made)
    assert "is damaged" in str(checked.problem)
    (entry,) = catalogue.entries(site)
    assert entry.copies[0].manifest["volumes"].keys() == {"uploads", "mail"}
    site.ledger.record_copy(Copy(**{**vars(entry.copies[0]), "problem": None}))
    with pytest.raises(OfficeOpsError):
        drill(site, source(site, made))
    assert [one.ok for one in site.ledger.drills()] == [False]
    assert {volume.name for volume in site.stack.volumes()} == {"uploads", "mail"}


def test_a_list_that_belongs_to_another_tar_is_found(site: Site) -> None:
    """Each object is what was stored, and they do not fit."""
    before = back_up(site, "mail").manifest
    (place(site, "mail") / "inbox").write_text("two letters")
    after = back_up(site, "mail").manifest
    mixed = after.model_copy(update={"objects": {**after.objects, "mail.jsonl": before.objects["mail.jsonl"]}})
    with pytest.raises(OfficeOpsError, match="inbox has another content"):
        drill(site, replace(source(site), manifest=mixed))


@pytest.mark.parametrize("reached", ["begin", "copy", "verify", "publish"])
def test_a_killed_run_is_put_in_order_by_the_next(site: Site, reached: str) -> None:
    (target,) = site.targets
    killed = VolumeBackup.begin(site)
    steps: dict[str, Callable[[], object]] = {
        "begin": lambda: None,
        "copy": lambda: [killed.copy(volume) for volume in killed.volumes],
        "verify": lambda: killed.verify(target),
        "publish": lambda: killed.publish(target),
    }
    for name, step in steps.items():
        step()
        if name == reached:
            break
    # The process is gone here: nothing of its own cleaning up runs.
    again = Site(site.config)
    assert put_away_unfinished(again) == [killed.id]
    published = reached == "publish"
    assert [entry.id for entry in catalogue.entries(again)] == ([killed.id] if published else [])
    assert nothing_published(again) or published
    assert not (site.home / "spool" / killed.id).exists()
    assert back_up(again).verified
    with suppress(OfficeOpsError):
        killed.__exit__(None, None, None)


def test_a_run_that_is_interrupted_leaves_nothing(site: Site) -> None:
    with pytest.raises(KeyboardInterrupt), VolumeBackup.begin(site) as backup:
        backup.copy("mail")
        raise KeyboardInterrupt
    assert nothing_published(site)


def test_latest_is_the_databases_and_a_kind_can_be_asked_for(site: Site) -> None:
    made = back_up(site).manifest.id
    assert catalogue.find(site, "latest:volumes").id == made
    for absent in ("latest", "latest:basebackup", "latest:nonsense"):
        with pytest.raises(UsageError):
            catalogue.find(site, absent)
    assert catalogue.of_the_database(catalogue.entries(site)) == []


def test_pinned_rebuilt_and_pruned_like_any_backup(site: Site) -> None:
    made = back_up(site)
    drill(site)
    catalogue.pin(site, made.manifest.id, pinned=True)
    (site.home / "ledger.db").unlink()
    again = Site(site.config)
    assert [(one.backups, one.drills, one.problems) for one in catalogue.rebuild(again)] == [(1, 1, ())]
    (entry,) = catalogue.entries(again)
    assert (entry.kind, entry.verified, entry.pinned, entry.drilled_at is not None) == ("volumes", True, True, True)
    assert isinstance(load_manifest(next(iter(again.targets.values())), again.name, entry.id), VolumeManifest)
    catalogue.pin(again, entry.id, pinned=False)
    assert [decision.keep for plan in prune.prune(again) for decision in plan.decisions] == [True]


def test_backups_of_one_volume_do_not_push_out_those_of_all(site: Site) -> None:
    """Retention keeps two here, and one a day."""
    everything = back_up(site).manifest.id
    some = [back_up(site, "mail").manifest.id for _ in range(4)]
    prune.prune(site)
    kept = {entry.id for entry in catalogue.entries(site)}
    assert everything in kept
    assert kept & set(some) == set(some[-2:])


def test_the_overview_knows_the_last_backup_of_each(site: Site) -> None:
    first, second = back_up(site).manifest, back_up(site, "mail").manifest
    found = {one.name: one for one in overview(site)}
    assert {name: one.last_backup["id"] for name, one in found.items() if one.last_backup} == {"uploads": first.id, "mail": second.id}
    assert found["mail"].bytes == len("one letter")


PROGRAM = """
import sys
from pathlib import Path
from officeops.site import open_site
from tests.support.volumes import back_up
assert back_up(open_site(Path(sys.argv[1])), "mail").verified
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_memory_does_not_grow_with_the_volume(site: Site) -> None:
    """300 MB that do not compress, in one file, into two targets."""

    def peak() -> int:
        env = {**os.environ, "PYTHONPATH": str(PROJECT), "BACKUP_TARGETS": "file:targets/one file:targets/two"}
        done = subprocess.run([sys.executable, "-c", PROGRAM, str(site.config.folder)], env=env, capture_output=True, text=True, check=True)
        return int(done.stdout)

    small = peak()
    with (place(site, "mail") / "large").open("wb") as file:
        block = os.urandom(1 << 20)
        for number in range(300):
            file.write(number.to_bytes(4) + block[4:])
    assert peak() < small + 100 * 1024  # the queues of both targets, full
    shutil.rmtree(site.config.folder / "targets")
