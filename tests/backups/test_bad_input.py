"""What can go wrong with a backup: each gets a clear error, leaves nothing half-published and nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pyrage
import pytest

from officeops.backups import catalogue
from officeops.backups.backup import Backup, BackupError
from officeops.backups.manifest import VERSION, NewerManifestError, manifest_key
from officeops.errors import OfficeOpsError, RefusedError
from officeops.postgres import databases
from officeops.postgres.connect import DatabaseError
from officeops.site import Site
from officeops.streams import DamagedError, WrongKeyError
from tests.support.backups import back_up, drill, source
from tests.support.postgres import running_postgres
from tests.support.s3 import KEYS, S3Endpoint, misbehaving
from tests.support.site import make_site

Sql = Callable[..., list[tuple[object, ...]]]
NewSite = Callable[..., Site]


@pytest.fixture
def office(run_sql: Sql) -> None:
    run_sql("CREATE TABLE notes (id int PRIMARY KEY, body text)")
    run_sql("INSERT INTO notes SELECT n, md5(n::text) || md5((n * 7)::text) FROM generate_series(1, 20000) n")


def nothing_published(site: Site) -> bool:
    return catalogue.entries(site) == [] and all(list(store.list()) == [] for store in site.targets.values())


def test_a_wrong_password_names_the_key_in_env(new_site: NewSite) -> None:
    site = new_site(POSTGRES_PASSWORD="not-the-right-one-42")
    with pytest.raises(DatabaseError) as refused:
        back_up(site)
    assert "POSTGRES_PASSWORD" in refused.value.todo
    assert "not-the-right-one-42" not in str(refused.value)
    assert nothing_published(site)
    (operation,) = site.ledger.operations("backup", outcome="failed")
    assert "refused the password" in str(operation.error)


def test_the_database_goes_down_in_the_middle_of_the_dump(folder: Path) -> None:
    with running_postgres() as server:
        with databases.maintenance(server.address(), application="test") as connection:
            databases.create_like(connection, "office", None)
        site = make_site(folder, server, "office")
        with Backup.begin(site) as backup:
            backup.snapshot()
            server.stop_at_once()
            with pytest.raises(OfficeOpsError, match="pg_dump"):
                backup.dump()
            with pytest.raises(BackupError, match="failed in database: pg_dump"):
                backup.report()
    assert nothing_published(site)


@pytest.fixture
def tiny_disk(folder: Path) -> Iterator[Path]:
    """A real file system with room for 256 kB: a tmpfs, mounted in a namespace of our own when we are not root."""
    place = folder / "tiny"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0777", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_target_fails_and_the_other_is_good(new_site: NewSite, office: None, tiny_disk: Path) -> None:
    site = new_site(BACKUP_TARGETS=f"file:{tiny_disk} file:targets/two")
    with pytest.raises(BackupError) as failed:
        back_up(site)
    assert "no space left" in str(failed.value)
    assert "complete and verified in file:" in failed.value.state
    full, roomy = site.targets
    assert list(site.targets[full].list()) == []
    (entry,) = catalogue.entries(site)
    assert ([copy.target for copy in entry.copies], entry.verified) == ([roomy], False)
    assert drill(site, source(site, entry.id))["public.notes"].rows == 20000


def test_an_s3_that_nobody_answers_at(new_site: NewSite, office: None) -> None:
    site = new_site(BACKUP_TARGETS="s3://bucket?endpoint=http://127.0.0.1:9", **KEYS)
    with Backup.begin(site) as backup, suppress(OfficeOpsError):
        backup.snapshot()
        backup.dump()
    with pytest.raises(BackupError, match="does not answer"):
        backup.report()
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(backup.outcomes)


def test_an_s3_that_fails_parts_for_a_while_is_asked_again(new_site: NewSite, office: None, s3: S3Endpoint) -> None:
    bucket, failures = s3.new_bucket(), iter([503, 500, 503])
    with misbehaving(s3, lambda method, _path: next(failures, None) if method == "PUT" else None) as endpoint:
        site = new_site(BACKUP_TARGETS=f"s3://{bucket}?endpoint={endpoint.url}", **KEYS)
        assert back_up(site).verified
    assert next(failures, None) is None


def test_an_s3_that_refuses_every_write_leaves_nothing(new_site: NewSite, office: None, s3: S3Endpoint) -> None:
    bucket = s3.new_bucket()
    with misbehaving(s3, lambda method, _path: 500 if method in ("PUT", "POST") else None) as endpoint:
        site = new_site(BACKUP_TARGETS=f"s3://{bucket}?endpoint={endpoint.url}", **KEYS)
        with pytest.raises(BackupError, match="fails right now"):
            back_up(site)
    assert s3.client().list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert s3.client().list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_a_target_that_cannot_be_written(new_site: NewSite, office: None, folder: Path) -> None:
    (folder / "a-file").write_text("no folder")
    site = new_site(BACKUP_TARGETS=f"file:{folder}/a-file/below")
    with pytest.raises(BackupError, match="cannot be used: Not a directory") as failed:
        back_up(site)
    assert "a-file" in str(failed.value)
    assert catalogue.entries(site) == []


def damaged_object(site: Site, change: Callable[[bytearray], bytes]) -> Path:
    """Changes the stored dump behind the store's back."""
    (path,) = Path(next(iter(site.targets)).removeprefix("file:")).glob("*/backups/*/database.dump.*")
    path.write_bytes(change(bytearray(path.read_bytes())))
    return path


def flip_a_bit(data: bytearray) -> bytes:
    data[len(data) // 2] ^= 4
    return bytes(data)


@pytest.mark.parametrize(
    "change", [flip_a_bit, lambda data: bytes(data[:-1]), lambda data: bytes(data) + b"x"], ids=["flipped", "cut", "longer"]
)
def test_a_damaged_object_is_found_and_never_restored(new_site: NewSite, office: None, change: Callable[[bytearray], bytes]) -> None:
    site = new_site()
    made = back_up(site).manifest.id
    damaged_object(site, change)
    (checked,) = catalogue.verify(site, made)
    assert "is damaged" in str(checked.problem)
    (entry,) = catalogue.entries(site)
    assert not entry.verified
    site.ledger.record_copy(catalogue.Copy(**{**vars(entry.copies[0]), "problem": None}))
    with pytest.raises(DamagedError):
        drill(site, source(site, made))
    assert [one.ok for one in site.ledger.drills()] == [False]
    assert list((site.home / "spool").iterdir()) == []


def test_a_copy_that_is_damaged_in_one_target_is_restored_from_the_other(new_site: NewSite, office: None) -> None:
    site = new_site(BACKUP_TARGETS="file:targets/one file:targets/two")
    made = back_up(site).manifest.id
    damaged_object(site, flip_a_bit)
    catalogue.verify(site, made)
    assert drill(site, source(site, made))["public.notes"].rows == 20000


def test_a_manifest_of_a_newer_version_is_not_guessed_at(new_site: NewSite, office: None) -> None:
    site = new_site()
    made = back_up(site).manifest.id
    (store,) = site.targets.values()
    with store.open(manifest_key(site.name, made)) as reader:
        raw = json.load(reader)
    store.put(manifest_key(site.name, made), [json.dumps({**raw, "version": VERSION + 1}).encode()])
    with pytest.raises(OfficeOpsError, match="written by a newer version") as refused:
        source(site, made)
    assert refused.value.state == "Nothing was changed."
    (rebuilt,) = catalogue.rebuild(site)
    assert (rebuilt.backups, len(rebuilt.problems)) == (0, 1)
    assert "Update smart-office-ops" in rebuilt.problems[0]
    assert issubclass(NewerManifestError, OfficeOpsError)


def test_the_wrong_identity_is_told_apart_from_damage(new_site: NewSite, office: None, folder: Path) -> None:
    right, wrong = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    (folder / "identity.txt").write_text(str(wrong))
    site = new_site(BACKUP_AGE_RECIPIENTS=str(right.to_public()), BACKUP_AGE_IDENTITY_FILE="identity.txt")
    back_up(site)
    with pytest.raises(WrongKeyError, match="cannot decrypt this backup"):
        drill(site)
    (folder / "identity.txt").write_text(str(right))
    assert drill(site)["public.notes"].match


def test_an_encrypted_backup_without_an_identity_says_which_key_to_set(new_site: NewSite, office: None) -> None:
    site = new_site(BACKUP_AGE_RECIPIENTS=str(pyrage.x25519.Identity.generate().to_public()))
    back_up(site)
    with pytest.raises(OfficeOpsError, match="BACKUP_AGE_IDENTITY_FILE"):
        drill(site)


def test_odd_names_everywhere(new_site: NewSite, run_sql: Sql, database: str) -> None:
    odd = f"""{database} 売上's "2026" = 100% \\ {{x}}"""
    role = f"""{database} räle "quoted" 'n' """
    quoted_role = '"' + role.replace('"', '""') + '"'
    run_sql('CREATE DATABASE "' + odd.replace('"', '""') + '"')
    run_sql(f"CREATE ROLE {quoted_role}")
    try:
        run_sql('CREATE SCHEMA "the ""sché ma"""', odd)
        run_sql('CREATE TABLE "the ""sché ma"""."表 \'t\' ""x"" the row" ("the row" int, "列 %s" text, t text)', odd)
        run_sql('INSERT INTO "the ""sché ma"""."表 \'t\' ""x"" the row" VALUES (1, \'a\', NULL), (2, \'é\', \'b\')', odd)
        run_sql(f'GRANT SELECT ON "the ""sché ma"""."表 \'t\' ""x"" the row" TO {quoted_role}', odd)
        site = new_site(odd)
        assert back_up(site).manifest.database.roles == ("office", role)
        (check,) = drill(site).values()
        assert (check.rows, check.match) == (2, True)
    finally:
        run_sql('DROP DATABASE "' + odd.replace('"', '""') + '" WITH (FORCE)')
        run_sql(f"DROP ROLE {quoted_role}")


def test_large_objects(new_site: NewSite, run_sql: Sql) -> None:
    run_sql("SELECT lo_from_bytea(0, decode(repeat('00ff10', 30000), 'hex'))")
    run_sql("SELECT lo_put(lo_create(0), 9000000, 'far behind a hole')")
    site = new_site()
    assert back_up(site).manifest.fingerprint.large_objects.rows == 2
    drill(site)


def test_an_empty_database(new_site: NewSite) -> None:
    site = new_site()
    assert back_up(site).manifest.fingerprint.tables == {}
    assert drill(site) == {}


def test_two_thousand_tables(new_site: NewSite, run_sql: Sql) -> None:
    run_sql("DO $$ BEGIN FOR n IN 1..2000 LOOP EXECUTE format('CREATE TABLE t%s AS SELECT %s AS x', n, n); END LOOP; END $$")
    site = new_site()
    assert len(back_up(site).manifest.fingerprint.tables) == 2000
    assert sum(check.rows for check in drill(site).values()) == 2000


def test_two_backups_at_once_exclude_each_other(new_site: NewSite, office: None) -> None:
    site = new_site()
    with site.locked("a long deploy"), pytest.raises(RefusedError) as refused, site.locked("backup"):
        pass
    assert f"process {os.getpid()}" in str(refused.value)
    assert "a long deploy" in str(refused.value)


def test_a_killed_run_is_put_in_order_by_the_next(new_site: NewSite, office: None) -> None:
    site = new_site()
    killed = Backup.begin(site)
    killed.snapshot()
    killed.dump()
    assert len(list(next(iter(site.targets.values())).list())) == 1
    report = back_up(site)
    (store,) = site.targets.values()
    assert {info.key.split("/")[2] for info in store.list()} == {report.manifest.id}
    operation = site.ledger.operation(killed.id)
    assert operation is not None
    assert (operation.outcome, "put in order" in str(operation.error)) == ("failed", True)
    killed.__exit__(None, None, None)


def test_a_run_killed_after_its_manifest_is_a_backup(new_site: NewSite, office: None) -> None:
    site = new_site()
    (target,) = site.targets
    killed = Backup.begin(site)
    killed.snapshot()
    killed.dump()
    killed.dump_globals()
    killed.fingerprint()
    killed.verify(target)
    killed.publish(target)
    site.ledger.forget_copy(killed.id, target)
    back_up(site)
    assert killed.id in {entry.id for entry in catalogue.entries(site) if entry.verified}
    killed.__exit__(None, None, None)
