"""Rows come back as they were, parents first, where nothing is in their way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from officeops.archive.returning import Return
from officeops.errors import OfficeOpsError
from officeops.site import Site
from tests.support.archives import POLICY, TALKS, archive, archived, counts, export, fill

Sql = Callable[..., list[tuple[object, ...]]]


def everything(run_sql: Sql) -> list[list[tuple[object, ...]]]:
    return [run_sql(f"SELECT * FROM {table} ORDER BY id") for table in ("talks", "lines", "notes")]


def test_all_of_a_batch_comes_back_and_again_nothing(site: Site, run_sql: Sql) -> None:
    before = everything(run_sql)
    (batch,) = archive(site)
    returned = Return(site, batch.id).run()
    assert returned.rows == {"public.talks": 20, "public.lines": 60, "public.notes": 20}
    assert everything(run_sql) == before
    assert archived(site, "talks") == []
    again = Return(site, batch.id).run()
    assert (sum(again.rows.values()), again.refused) == (0, 0)
    (second,) = archive(site)
    assert counts(run_sql) == (5, 15, 5)
    assert len(archived(site, "talks")) == 20
    assert second.id != batch.id


def test_a_dry_run_says_what_would_come_back_and_what_is_in_the_way_and_changes_nothing(site: Site, run_sql: Sql) -> None:
    (batch,) = archive(site)
    run_sql("INSERT INTO talks VALUES (3, 'in the way', now())")
    before = everything(run_sql)
    tried = Return(site, batch.id, dry_run=True).run()
    assert (everything(run_sql), tried.refused) == (before, 1)
    done = Return(site, batch.id).run()
    assert (done.rows, done.conflicts) == (tried.rows, tried.conflicts)
    assert done.rows["public.talks"] == 19


def test_a_condition_brings_some_back_with_their_children(site: Site, run_sql: Sql) -> None:
    (batch,) = archive(site)
    returned = Return(site, batch.id, where="talks.id IN (3, 5) OR title LIKE '%talk 7'").run()
    assert returned.rows == {"public.talks": 3, "public.lines": 9, "public.notes": 3}
    assert run_sql("SELECT id FROM talks WHERE id <= 20 ORDER BY 1") == [(3,), (5,), (7,)]
    assert archived(site, "lines", "count(*)") == [(51,)]
    Return(site, batch.id).run()
    assert counts(run_sql) == (25, 75, 25)


def test_a_key_that_is_in_use_is_a_conflict_and_its_unit_stays_archived(site: Site, run_sql: Sql) -> None:
    (batch,) = archive(site)
    run_sql("INSERT INTO lines VALUES (42, 23, 'somebody else''s', now())")
    returned = Return(site, batch.id).run()
    assert returned.conflicts == ["public.talks (4): public.lines: there is a row with that key"]
    assert returned.rows["public.talks"] == 19
    assert archived(site, "talks") == [(4,)]
    assert archived(site, "lines") == [(41,), (42,), (43,)]
    run_sql("DELETE FROM lines WHERE id = 42")
    assert Return(site, batch.id).run().rows["public.lines"] == 3
    assert counts(run_sql) == (25, 75, 25)


def test_what_the_tables_do_not_allow_is_a_conflict_of_its_unit_only(site: Site, run_sql: Sql) -> None:
    (batch,) = archive(site)
    run_sql("CREATE UNIQUE INDEX one_title ON talks (title); INSERT INTO talks VALUES (900, 'talk 6', now())")
    run_sql("ALTER TABLE notes ADD CONSTRAINT no_nine CHECK (body <> 'note of 9')")
    returned = Return(site, batch.id).run()
    assert returned.refused == 2
    assert "one_title" in returned.conflicts[0]
    assert returned.conflicts[0].startswith("public.talks (6)")
    assert "no_nine" in returned.conflicts[1]
    assert archived(site, "talks") == [(6,), (9,)]
    assert archived(site, "lines", "count(*)") == [(6,)]


def test_rows_that_a_trigger_alters_do_not_come_back(site: Site, run_sql: Sql) -> None:
    (batch,) = archive(site)
    run_sql(
        """CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
             IF new.id = 31 THEN new.body := upper(new.body); END IF; RETURN new; END$$;
           CREATE TRIGGER shout BEFORE INSERT ON lines FOR EACH ROW EXECUTE FUNCTION shout()"""
    )
    returned = Return(site, batch.id).run()
    assert returned.conflicts == ["public.talks (3): public.lines: the table made other values of it"]
    assert counts(run_sql) == (24, 72, 24)
    assert archived(site, "talks") == [(3,)]


def test_a_parent_outside_that_is_gone_is_a_conflict(site_of: Callable[..., Site], run_sql: Sql) -> None:
    run_sql("CREATE TABLE people (id int PRIMARY KEY); INSERT INTO people VALUES (1), (2)")
    run_sql(TALKS.replace("title text", "title text, owner int CONSTRAINT owned_by REFERENCES people"))
    run_sql("INSERT INTO talks SELECT n, 't', 1 + n % 2, now() - interval '60 days' FROM generate_series(1, 4) AS n")
    site = site_of(POLICY)
    (batch,) = archive(site)
    run_sql("DELETE FROM people WHERE id = 2")
    returned = Return(site, batch.id).run()
    assert ["owned_by" in conflict for conflict in returned.conflicts] == [True, True]
    assert run_sql("SELECT id FROM talks ORDER BY 1") == [(2,), (4,)]


def test_columns_that_came_later_get_their_defaults(site: Site, run_sql: Sql) -> None:
    (batch,) = archive(site)
    run_sql("ALTER TABLE talks ADD COLUMN mood text NOT NULL DEFAULT 'calm'")
    assert Return(site, batch.id).run().refused == 0
    assert run_sql("SELECT DISTINCT mood FROM talks") == [("calm",)]


def test_a_column_that_is_gone_is_told_before_anything_is_written(site: Site, run_sql: Sql) -> None:
    (batch,) = archive(site)
    run_sql("ALTER TABLE lines DROP COLUMN body")
    with pytest.raises(OfficeOpsError, match=r"public\.lines has no column body any more"):
        Return(site, batch.id).run()
    assert counts(run_sql) == (5, 15, 5)


def test_a_batch_that_is_not_done_has_nothing_to_bring_back(site: Site) -> None:
    (batch,) = export(site)
    with pytest.raises(OfficeOpsError, match="is verified"):
        Return(site, batch.id)
    with pytest.raises(OfficeOpsError, match="no batch 'x'"):
        Return(site, "x")


def test_rows_that_never_left_do_not_come_twice(site: Site, run_sql: Sql) -> None:
    (batch,) = export(site)
    run_sql("UPDATE notes SET body = 'changed' WHERE id = 500")
    from tests.support.archives import proven

    proven(site)
    batch.delete()
    returned = Return(site, batch.id).run()
    assert (returned.rows["public.talks"], returned.refused) == (19, 0)
    assert run_sql("SELECT body FROM notes WHERE id = 500") == [("changed",)]
    assert counts(run_sql) == (25, 75, 25)
    fill(run_sql, 1, 1, first=500)
