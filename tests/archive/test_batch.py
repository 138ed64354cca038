"""From rows to files: nothing leaves that is not proven, nothing is lost that came or changed meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from officeops.archive import pace as paces
from officeops.archive.batch import Batch, WaitingError, policy_named
from officeops.archive.removal import slices
from officeops.errors import OfficeOpsError
from officeops.postgres.connect import connected
from officeops.site import Site
from officeops.streams import DamagedError
from tests.support.archives import POLICY, TALKS, archive, archived, counts, export, fill, proven
from tests.support.backups import back_up, drill
from tests.support.ports import eventually
from tests.support.postgres import Running

Sql = Callable[..., list[tuple[object, ...]]]
SiteOf = Callable[..., Site]


def test_old_rows_leave_with_their_children_and_can_be_asked(site: Site, run_sql: Sql) -> None:
    (batch,) = archive(site)
    assert counts(run_sql) == (5, 15, 5)
    assert archived(site, "talks") == [(n,) for n in range(1, 21)]
    assert archived(site, "notes", "id, body")[:2] == [(100, "note of 1"), (200, None)]
    assert batch.record.state == "done"
    assert batch.record.absent == {}
    assert export(site) == []
    assert list((site.home / "spool").iterdir()) == []


def test_batches_follow_each_other_along_the_key(site_of: SiteOf, run_sql: Sql) -> None:
    run_sql(TALKS)
    fill(run_sql)
    site = site_of(POLICY.replace("grace", "batch_size: 8, grace"))
    made = archive(site)
    assert [batch.record.contents.tables[0].rows for batch in made] == [8, 8, 4]
    assert counts(run_sql) == (5, 15, 5)
    assert len(archived(site, "lines")) == 60


def test_a_condition_may_ask_other_tables(site_of: SiteOf, run_sql: Sql) -> None:
    run_sql(TALKS)
    fill(run_sql)
    site = site_of(POLICY.replace("grace", "where: \"NOT EXISTS (SELECT FROM notes WHERE id = talks.id * 100 AND body LIKE '%5')\", grace"))
    archive(site)
    assert run_sql("SELECT id FROM talks WHERE id <= 20 ORDER BY 1") == [(5,), (15,)]


def test_a_wrong_condition_is_told(site_of: SiteOf, run_sql: Sql) -> None:
    run_sql(TALKS)
    site = site_of(POLICY.replace("grace", "where: colour = 'red', grace"))
    with pytest.raises(OfficeOpsError, match='"colour" does not exist'):
        export(site)


CHANGES = {
    "its own row": ("UPDATE talks SET title = 'new' WHERE id = 3", "changed"),
    "a line": ("UPDATE lines SET body = body || '!' WHERE id = 31", "changed"),
    "a note that was empty": ("UPDATE notes SET body = '' WHERE id = 200", "changed"),
    "a line that moved away": ("UPDATE lines SET talk = 25 WHERE id = 33", "changed"),
    "a line more": ("INSERT INTO lines VALUES (999, 3, 'late', now())", "with its unit"),
    "a note more": ("INSERT INTO notes VALUES (999, 32, 'late')", "with its unit"),
    "a line that moved here": ("UPDATE lines SET talk = 3 WHERE id = 251", "with its unit"),
    "a note less": ("DELETE FROM notes WHERE id = 300", "gone"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_talk_that_changed_after_the_export_stays_whole_and_is_reported(change: str, site: Site, run_sql: Sql) -> None:
    statement, why = CHANGES[change]
    (batch,) = export(site)
    run_sql(statement)
    before = {table: run_sql(f"SELECT * FROM {table} ORDER BY id") for table in ("talks", "lines", "notes")}
    proven(site)
    batch.delete()
    kept = 2 if "empty" in change else 3
    assert run_sql("SELECT id FROM talks ORDER BY 1") == [(kept,)] + [(n,) for n in range(21, 26)]
    assert why in batch.record.absent
    assert (kept,) not in archived(site, "talks")
    # Each row is at one place and only there, as it was before the deletion.
    for table, rows in before.items():
        live = run_sql(f"SELECT * FROM {table} ORDER BY id")
        assert sorted([row[0] for row in live] + [row[0] for row in archived(site, table)]) == [row[0] for row in rows]
        assert set(live) <= set(rows)


def test_a_talk_that_somebody_deleted_is_not_archived(site: Site, run_sql: Sql) -> None:
    (batch,) = export(site)
    run_sql("DELETE FROM talks WHERE id = 7")
    proven(site)
    batch.delete()
    assert batch.record.absent == {"gone": 5}
    assert (7,) not in archived(site, "talks")
    assert len(archived(site, "lines")) == 57


def test_a_row_that_came_late_was_never_listed(site: Site, run_sql: Sql) -> None:
    (batch,) = export(site)
    run_sql("INSERT INTO talks VALUES (0, 'late', now() - interval '90 days')")
    proven(site)
    batch.delete()
    assert run_sql("SELECT id FROM talks WHERE id < 20") == [(0,)]
    assert [one.record.contents.units for one in export(site)] == [1]


def test_a_child_that_is_not_committed_yet_keeps_its_parent(site: Site, run_sql: Sql, postgres: Running, database: str) -> None:
    """The cascade would take it: the removal has to wait for it, and to see it."""
    (batch,) = export(site)
    proven(site)
    with connected(postgres.address(database), application="a writer", autocommit=False) as writer:
        writer.execute("INSERT INTO public.lines VALUES (999, 3, 'late', now())")
        removal = threading.Thread(target=batch.delete)
        removal.start()
        waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        eventually(lambda: run_sql(waits) == [(True,)], what="the removal's waiting")
        writer.commit()
        removal.join()
    assert run_sql("SELECT count(*) FROM lines WHERE talk = 3") == [(4,)]
    assert batch.record.state == "done"


def test_rows_that_somebody_holds_are_left_to_the_next_batch(site: Site, run_sql: Sql, postgres: Running, database: str) -> None:
    (batch,) = export(site)
    proven(site)
    with connected(postgres.address(database), application="a writer", autocommit=False) as writer:
        writer.execute("SELECT FROM public.talks WHERE id = 4 FOR UPDATE")
        batch.delete()
        writer.rollback()
    assert run_sql("SELECT id FROM talks WHERE id <= 20") == [(4,)]
    assert batch.record.absent == {"with its unit": 5}
    archive(site)
    assert run_sql("SELECT id FROM talks WHERE id <= 20") == []
    assert archived(site, "talks") == [(n,) for n in range(1, 21)]


def test_a_unit_of_more_rows_than_a_transaction_may_have_goes_in_pieces(site: Site, run_sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("officeops.archive.removal.MOST_ROWS", 50)
    for name in ("MOST_ROWS", "_LEAST_ROWS", "_FIRST_ROWS"):
        monkeypatch.setattr(paces, name, 50)
    for talk in (5, 6):
        run_sql(f"INSERT INTO lines SELECT {talk} * 1000 + n, {talk}, 'long', now() FROM generate_series(1, 300) AS n")
    (batch,) = export(site)
    run_sql("INSERT INTO lines VALUES (999, 6, 'late', now())")
    proven(site)
    batch.delete()
    assert run_sql("SELECT id FROM talks WHERE id <= 20") == [(6,)]
    assert run_sql("SELECT id FROM lines WHERE talk IN (5, 6)") == [(999,)]
    assert len(archived(site, "lines")) == 660
    assert batch.record.absent == {"with its unit": 1}


def test_a_row_with_several_parents_stays_with_all_of_them(site_of: SiteOf, run_sql: Sql) -> None:
    run_sql(
        TALKS
        + """
        CREATE TABLE links (id int PRIMARY KEY, one bigint REFERENCES talks ON DELETE CASCADE, other bigint REFERENCES talks ON DELETE CASCADE);
        CREATE INDEX ON links (one); CREATE INDEX ON links (other)"""
    )
    fill(run_sql)
    run_sql("INSERT INTO links VALUES (1, 2, 9), (2, 9, 12), (3, 14, 15), (4, 25, 16)")
    site = site_of(POLICY.replace("notes]", "notes, links]"))
    (batch,) = export(site)
    run_sql("UPDATE talks SET title = 'new' WHERE id = 2")
    proven(site)
    batch.delete()
    # Talk 9 keeps link 1, so it stays, and link 2, which is listed with it, keeps talk 12.
    assert run_sql("SELECT id FROM talks WHERE id <= 20 ORDER BY 1") == [(2,), (9,), (12,)]
    assert run_sql("SELECT id FROM links ORDER BY 1") == [(1,), (2,)]
    assert archived(site, "links") == [(3,), (4,)]


def test_the_grace_is_waited_for(site_of: SiteOf, run_sql: Sql) -> None:
    run_sql(TALKS)
    fill(run_sql)
    site = site_of(POLICY.replace("grace_days: 0", "grace_days: 7"))
    (batch,) = export(site)
    proven(site)
    with pytest.raises(WaitingError, match="in its grace until"):
        batch.delete()
    now = site.clock()
    later = Site(site.config, clock=lambda: now + timedelta(days=8))
    proven(later)
    Batch(later, batch.policy, batch.id).delete()
    assert counts(run_sql) == (5, 15, 5)


def test_rows_wait_for_a_drilled_backup_that_is_newer_than_their_batch(site: Site, run_sql: Sql) -> None:
    back_up(site)
    drill(site)
    (batch,) = export(site)
    with pytest.raises(WaitingError, match="waits for a backup"):
        batch.delete()
    back_up(site)
    with pytest.raises(WaitingError, match="drill"):
        batch.delete()
    assert counts(run_sql) == (25, 75, 25)
    drill(site)
    batch.delete()
    assert counts(run_sql) == (5, 15, 5)


def test_a_file_that_is_not_what_was_written_is_not_trusted(site: Site, run_sql: Sql) -> None:
    batch = Batch.begin(site, policy_named(site, "talks"))
    assert batch.export()
    path = file_of(batch, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + b"x" + whole[-19:])
    with pytest.raises(DamagedError, match="is damaged"):
        batch.verify()
    path.write_bytes(whole)
    batch.verify()
    proven(site)
    path.write_bytes(b"")
    with pytest.raises(OfficeOpsError, match="No target has"):
        batch.delete()
    assert counts(run_sql) == (25, 75, 25)
    path.write_bytes(whole)
    batch.delete()
    assert counts(run_sql) == (5, 15, 5)


def test_every_target_has_it_and_one_that_has_it_whole_is_enough_to_go_on(site_of: SiteOf, run_sql: Sql) -> None:
    run_sql(TALKS)
    fill(run_sql)
    site = site_of(POLICY, BACKUP_TARGETS="'file:targets/one file:targets/two'")
    (batch,) = export(site)
    assert len(batch.record.targets) == 2
    for target in site.targets.values():
        assert len(list(target.list(f"{site.name}/archives/"))) == 4
    file_of(batch, 0).unlink()
    proven(site)
    batch.delete()
    assert archived(site, "talks") == [(n,) for n in range(1, 21)]


def test_a_value_that_does_not_come_back_the_same_is_found_by_the_database(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from officeops.archive import files

    real = files.as_csv
    monkeypatch.setattr(files, "as_csv", lambda group, first: real(group, first).replace(b"line 2 of 7", b"line 2 of 8"))
    batch = Batch.begin(site, policy_named(site, "talks"))
    batch.export()
    with pytest.raises(DamagedError, match="1 of them different"):
        batch.verify()


def test_a_batch_of_tables_that_changed_is_begun_anew(site: Site, run_sql: Sql) -> None:
    (batch,) = export(site)
    run_sql("ALTER TABLE notes ADD COLUMN mood text; UPDATE notes SET mood = 'calm'")
    proven(site)
    with pytest.raises(OfficeOpsError, match="not what they were"):
        batch.delete()
    assert Batch.pending(site) == []
    (second,) = archive(site)
    assert second.id != batch.id
    assert archived(site, "notes", "id, mood")[0] == (100, "calm")


def test_a_batch_of_tables_that_changed_half_way_ends_there(site: Site, run_sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LEAST_ROWS", "_FIRST_ROWS", "MOST_ROWS"):
        monkeypatch.setattr(paces, name, 20)
    (batch,) = export(site)
    proven(site)
    took = paces.Pace.took

    def then_migrate(pace: paces.Pace, seconds: float, rows: int) -> None:
        took(pace, seconds, rows)
        run_sql("ALTER TABLE notes ADD COLUMN IF NOT EXISTS mood text DEFAULT 'calm'")

    monkeypatch.setattr(paces.Pace, "took", then_migrate)
    with pytest.raises(OfficeOpsError, match="changed while its rows left"):
        batch.delete()
    assert Batch.pending(site) == []
    left = [row[0] for row in run_sql("SELECT id FROM talks ORDER BY 1")]
    assert 5 < len(left) < 25
    assert [row[0] for row in archived(site, "talks")] == sorted(set(range(1, 26)) - set(left))


def test_what_a_killed_export_left_is_put_away(site: Site, run_sql: Sql) -> None:
    killed = Batch.begin(site, policy_named(site, "talks"))
    killed._export()
    assert Batch.pending(site) == []
    (target,) = site.targets.values()
    assert list(target.list(f"{site.name}/archives/")) == []
    with pytest.raises(OfficeOpsError, match="no batch"):
        _ = killed.record
    assert run_sql("SELECT count(*) FROM talks") == [(25,)]


def test_files_with_a_manifest_are_never_removed(site: Site, run_sql: Sql) -> None:
    """Another state of the database, which a restore set aside, may count on them."""
    (batch,) = export(site)
    batch.discard()
    (target,) = site.targets.values()
    assert len(list(target.list(f"{site.name}/archives/"))) == 4
    assert [one.record.contents.units for one in export(site)] == [20]


def test_nothing_is_removed_while_the_pause_file_is_there(site: Site, run_sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    (batch,) = export(site)
    proven(site)
    (site.home / "archive.pause").touch()
    monkeypatch.setattr(paces, "_PATIENCE_S", 0.0)
    with pytest.raises(OfficeOpsError, match=r"archive\.pause is there"):
        batch.delete()
    assert counts(run_sql) == (25, 75, 25)
    (site.home / "archive.pause").unlink()
    batch.delete()
    assert counts(run_sql) == (5, 15, 5)


def test_space_is_given_back_and_what_stands_in_its_way_is_said(site: Site, run_sql: Sql) -> None:
    run_sql("INSERT INTO talks SELECT n, repeat('x', 500), now() - interval '99 days' FROM generate_series(1000, 6000) AS n")
    run_sql("ALTER TABLE notes SET (autovacuum_enabled = false)")
    (batch,) = archive(site)
    assert batch.give_back() == ['autovacuum is off for public.notes: ALTER TABLE "public"."notes" RESET (autovacuum_enabled).']
    sizes = batch.record.sizes
    assert sizes["after"]["public.talks"] < sizes["before"]["public.talks"] / 3


def test_large_transactions_are_made_smaller_and_rested_after() -> None:
    slept: list[float] = []
    pace = paces.Pace(Path("nowhere"), sleep=slept.append)
    pace.took(1.0, 2_000)
    assert pace.rows == paces._LEAST_ROWS
    assert slept == [paces._REST]
    for _ in range(10):
        pace.took(0.001, pace.rows)
    assert pace.rows == paces.MOST_ROWS


@pytest.mark.parametrize("done", range(33))
def test_slices_go_on_from_wherever_a_killed_run_was(done: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of 1 + 2, 1 + 20 (in pieces), 1 + 0, 1 + 5 rows: whatever was done, the rest comes once, in order, children first."""
    monkeypatch.setattr("officeops.archive.removal.MOST_ROWS", 8)
    pace = paces.Pace(Path("nowhere"))
    pace.rows = 4
    counts = ([1, 1, 1, 1], [2, 20, 0, 5])
    whole = list(slices(counts, [0, 0], pace))
    assert [sum(one.rows[table] for one in whole) for table in (0, 1)] == [4, 27]
    at = [0, 0]
    for one in whole[:done]:
        at = [row + rows for row, rows in zip(at, one.rows, strict=True)]
    rest = list(slices(counts, at, pace))
    assert [row + sum(one.rows[table] for one in rest) for table, row in enumerate(at)] == [4, 27]
    assert all(one.total <= 8 for one in whole)


def file_of(batch: Batch, position: int) -> Path:
    """A file of the batch in its first target."""
    record = batch.record
    return Path(record.targets[0].removeprefix("file:")) / record.contents.tables[position].object
