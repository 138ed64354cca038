"""What forbids a policy is said before anything is read, by the name of the constraint."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from officeops.archive.batch import Batch
from officeops.archive.shape import read_unit
from officeops.archive.states import session
from officeops.errors import OfficeOpsError
from officeops.site import Site
from tests.support.archives import TALKS

Sql = Callable[..., list[tuple[object, ...]]]

POLICY = "{name: talks, table: talks, children: [lines, notes], age_column: at, older_than_days: 30}"
REFUSED = {
    "a cascade to a table that is not archived": (
        "CREATE TABLE stars (id int PRIMARY KEY, talk bigint CONSTRAINT star_of REFERENCES talks ON DELETE CASCADE)",
        POLICY, "star_of.*deletes them too",
    ),
    "a key from outside, of a grandchild": (
        "CREATE SCHEMA other; CREATE TABLE other.pins (id int PRIMARY KEY, note bigint CONSTRAINT pin_of REFERENCES notes)",
        POLICY, r"other\.pins points to public\.notes by the constraint pin_of.*forbids",
    ),
    "keys that would be emptied": (
        "CREATE TABLE stars (id int PRIMARY KEY, line bigint CONSTRAINT star_of REFERENCES lines ON DELETE SET NULL)",
        POLICY, "star_of.*empties their keys",
    ),
    "a child left out": ("", POLICY.replace(", notes", ""), "notes_line_fkey"),
    "rows that point to others of their table": (
        "ALTER TABLE lines ADD COLUMN answers bigint CONSTRAINT answer_to REFERENCES lines; CREATE INDEX ON lines (answers)",
        POLICY, "circle.*answer_to",
    ),
    "a circle": (
        "ALTER TABLE talks ADD COLUMN first bigint CONSTRAINT first_line REFERENCES lines; CREATE INDEX ON talks (first)",
        POLICY, "circle.*first_line",
    ),
    "a key without an index": ("DROP INDEX notes_line_idx", POLICY, "notes_line_fkey.*no index.*CREATE INDEX CONCURRENTLY"),
    "an index of some rows only": (
        "DROP INDEX notes_line_idx; CREATE INDEX ON notes (line) WHERE line > 5", POLICY, "notes_line_fkey.*no index"
    ),
    "no primary key": ("ALTER TABLE notes DROP CONSTRAINT notes_pkey", POLICY, "notes cannot be archived.*primary key"),
    "row-level security": ("ALTER TABLE lines ENABLE ROW LEVEL SECURITY", POLICY, "row-level security"),
    "rules": ("CREATE RULE nothing AS ON DELETE TO notes DO INSTEAD NOTHING", POLICY, "rewrite rules"),
    "inheritance": ("CREATE TABLE more () INHERITS (talks)", POLICY, "ordinary table"),
    "a name of ours": ("ALTER TABLE notes ADD COLUMN officeops_unit int", POLICY, "officeops_unit"),
    "no such table": ("", POLICY.replace("table: talks", "table: walks"), "no table walks"),
    "no name at all": ("", POLICY.replace("table: talks", "table: 'a.b.c.d'"), "no name of a table"),
    "no such column": ("", POLICY.replace("age_column: at", "age_column: born"), "talks.born: no such column"),
    "an age that is none": ("", POLICY.replace("age_column: at", "age_column: title"), "it is text"),
    "a child that is none": ("CREATE TABLE alone (id int PRIMARY KEY)", POLICY.replace("notes]", "notes, alone]"), "alone has no foreign key"),
    "a table named twice": ("", POLICY.replace("notes]", "notes, public.lines]"), "twice"),
    "a view": ("CREATE VIEW old AS SELECT * FROM talks", POLICY.replace("table: talks", "table: old"), "ordinary table"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_policy_is_refused_for(case: str, site_of: Callable[..., Site], run_sql: Sql) -> None:
    change, policy, says = REFUSED[case]
    run_sql(TALKS + change)
    site = site_of(policy)
    with pytest.raises(OfficeOpsError, match=f"(?s){says}") as refused:
        Batch.begin(site, site.config.runbook.archives[0])
    assert refused.value.state == "Nothing was read or changed."
    assert run_sql("SELECT to_regnamespace('officeops')") == [(None,)]


def test_a_partitioned_table_is_refused(site_of: Callable[..., Site], run_sql: Sql) -> None:
    run_sql("CREATE TABLE days (at date PRIMARY KEY) PARTITION BY RANGE (at)")
    site = site_of("{name: days, table: days, age_column: at, older_than_days: 1}")
    with pytest.raises(OfficeOpsError, match="DETACH"):
        Batch.begin(site, site.config.runbook.archives[0])


def test_archives_in_the_clear_beside_encrypted_backups_have_to_be_meant(site_of: Callable[..., Site], run_sql: Sql) -> None:
    import pyrage

    run_sql(TALKS)
    key = str(pyrage.x25519.Identity.generate().to_public())
    site = site_of(POLICY, POLICY.replace("name: talks", "name: meant, unencrypted: true"), BACKUP_AGE_RECIPIENTS=key)
    with pytest.raises(OfficeOpsError, match="unencrypted: true"):
        Batch.begin(site, site.config.runbook.archives[0])
    assert not Batch.begin(site, site.config.runbook.archives[1]).export()


def test_parents_come_before_children_whatever_their_order_in_the_policy(site_of: Callable[..., Site], run_sql: Sql) -> None:
    run_sql(TALKS)
    site = site_of(POLICY.replace("[lines, notes]", "[notes, public.lines]"))
    with session(site, "test") as connection:
        unit = read_unit(connection, site.config.runbook.archives[0])
    assert [table.name for table in unit.tables] == ["talks", "lines", "notes"]


def test_the_digest_sees_what_would_change_what_a_deletion_does(site_of: Callable[..., Site], run_sql: Sql) -> None:
    run_sql(TALKS)
    site = site_of(POLICY)

    def digest() -> str:
        with session(site, "test") as connection:
            return read_unit(connection, site.config.runbook.archives[0]).digest()

    before = digest()
    run_sql("CREATE INDEX ON notes (body)")
    assert digest() == before
    run_sql("ALTER TABLE notes ADD COLUMN mood text")
    assert digest() != before
