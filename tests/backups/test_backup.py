"""A backup and a drill of it, on a real server: what goes in comes out."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable

import pyrage
import pytest

from officeops.backups import catalogue
from officeops.backups.backup import Backup, BackupError
from officeops.backups.objects import load_manifest
from officeops.site import Site
from tests.support.backups import back_up, drill, source
from tests.support.s3 import KEYS, S3Endpoint

Sql = Callable[..., list[tuple[object, ...]]]
NewSite = Callable[..., Site]


@pytest.fixture
def office(run_sql: Sql) -> None:
    run_sql("CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL)")
    run_sql("INSERT INTO users (name) SELECT 'user ' || n FROM generate_series(1, 500) n")
    run_sql(
        "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY, user_id int REFERENCES users, body text, at timestamptz DEFAULT now())"
    )
    run_sql("INSERT INTO notes (user_id, body) SELECT 1 + n % 500, repeat('メモ ' || n, 5) FROM generate_series(1, 3000) n")


def test_a_backup_is_verified_listed_and_can_be_drilled(new_site: NewSite, office: None) -> None:
    site = new_site()
    report = back_up(site)
    assert report.verified
    tables = drill(site)
    assert tables["public.notes"].rows == tables["public.notes"].expected == 3000
    (entry,) = catalogue.entries(site)
    assert (entry.id, entry.verified) == (report.manifest.id, True)
    assert entry.drilled_at is not None


def test_the_dump_and_its_fingerprints_are_of_one_moment(new_site: NewSite, office: None, run_sql: Sql) -> None:
    site = new_site()
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            run_sql("INSERT INTO notes (user_id, body) VALUES (1, 'meanwhile'); UPDATE users SET name = name || '!' WHERE id = 7")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        report = back_up(site)
    finally:
        stop.set()
        writer.join()
    assert drill(site)["public.notes"].match
    assert run_sql("SELECT count(*) FROM notes")[0][0] != report.manifest.fingerprint.tables["public.notes"].rows


def test_goes_to_every_target_at_once_encrypted(new_site: NewSite, office: None, s3: S3Endpoint) -> None:
    identity = pyrage.x25519.Identity.generate()
    bucket = s3.new_bucket()
    site = new_site(
        BACKUP_TARGETS=f"file:targets/one s3://{bucket}/night?endpoint={s3.url}",
        BACKUP_AGE_RECIPIENTS=str(identity.to_public()),
        BACKUP_AGE_IDENTITY_FILE="identity.txt",
        **KEYS,
    )
    (site.config.folder / "identity.txt").write_text(f"# the key\n{identity}\n")
    report = back_up(site)
    first, second = site.targets
    assert report.manifest.objects["database"].key.endswith("database.dump.zst.age")
    assert load_manifest(site.targets[first], site.name, report.manifest.id) == load_manifest(
        site.targets[second], site.name, report.manifest.id
    )
    for target in (first, second):
        assert drill(site, source(site, target=target))["public.users"].rows == 500


def test_a_plain_script_can_be_made_and_restored_too(new_site: NewSite, office: None) -> None:
    site = new_site()
    report = back_up(site, form="sql.gz")
    assert report.manifest.kind == "sql"
    assert report.manifest.objects["database"].key.endswith("database.sql.gz")
    assert drill(site)["public.notes"].match


def test_nothing_is_listed_before_its_manifest_is_there(new_site: NewSite, office: None) -> None:
    site = new_site()
    (store,) = site.targets.values()
    with pytest.raises(KeyboardInterrupt), Backup.begin(site) as backup:
        backup.snapshot()
        backup.dump()
        backup.dump_globals()
        backup.fingerprint()
        backup.verify(store.name)
        assert catalogue.entries(site) == []
        raise KeyboardInterrupt
    assert list(store.list()) == []
    assert catalogue.entries(site) == []


def test_it_refuses_to_publish_what_was_not_read_back(new_site: NewSite, office: None) -> None:
    site = new_site()
    with pytest.raises(BackupError, match="was not read back"), Backup.begin(site) as backup:
        backup.snapshot()
        backup.dump()
        backup.dump_globals()
        backup.fingerprint()
        backup.publish(next(iter(site.targets)))


def test_the_index_can_be_rebuilt_from_the_targets(new_site: NewSite, office: None) -> None:
    site = new_site()
    back_up(site)
    drill(site)
    catalogue.pin(site, "latest", pinned=True)
    before = catalogue.entries(site)
    (site.home / "ledger.db").unlink()
    again = Site(site.config)
    assert catalogue.entries(again) == []
    assert [(one.backups, one.drills, one.problems) for one in catalogue.rebuild(again)] == [(1, 1, ())]
    (found,) = catalogue.entries(again)
    assert (found.id, found.verified, found.drilled_at, found.pinned) == (before[0].id, True, before[0].drilled_at, True)


def test_a_backup_is_found_by_the_beginning_of_its_id(new_site: NewSite, office: None) -> None:
    site = new_site()
    made = back_up(site).manifest.id
    assert catalogue.find(site, made[:10]).id == catalogue.find(site, "latest").id == made


@pytest.mark.parametrize(("targets", "verified"), [("file:targets/two", True), ("file:targets/one file:targets/two", False)])
def test_a_new_host_restores_the_latest_from_the_target_that_is_left(targets: str, verified: bool, new_site: NewSite, office: None) -> None:
    before = new_site(BACKUP_TARGETS="file:targets/one file:targets/two")
    made = back_up(before).manifest.id
    for lost in ("targets/one", ".officeops", ".env"):
        place = before.config.folder / lost
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    site = new_site(BACKUP_TARGETS=targets)
    catalogue.rebuild(site)
    (entry,) = catalogue.entries(site)
    assert (entry.id, entry.verified) == (made, verified)
    assert drill(site)["public.users"].rows == 500
