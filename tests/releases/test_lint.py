"""What is dangerous in a migration, and what is not."""

from __future__ import annotations

import pytest

from officeops.releases.lint import lint
from officeops.releases.revisions import read_chain
from officeops.releases.scripts import pending
from officeops.releases.sql import Dropped, dropped, upgrade_scripts
from tests.support.migrations import HEAD, MigratingStack, Written

BLOCK = "COMMIT;\n{}\nBEGIN;"


def rules(sql: str) -> set[str]:
    return {finding.rule for finding in lint({"1": f"BEGIN;\n{sql}\nCOMMIT;"})}


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("DROP TABLE messages;", "ban-drop-table"),
        ("ALTER TABLE messages DROP COLUMN content;", "ban-drop-column"),
        ("ALTER TABLE messages RENAME COLUMN content TO body;", "renaming-column"),
        ("ALTER TABLE messages RENAME TO letters;", "renaming-table"),
        ("ALTER TABLE messages ALTER COLUMN role TYPE int USING role::int;", "changing-column-type"),
        ("ALTER TABLE messages ALTER COLUMN role SET NOT NULL;", "adding-not-nullable-field"),
        ("ALTER TABLE messages ADD COLUMN model text NOT NULL;", "adding-required-field"),
        ("ALTER TABLE messages ADD COLUMN at timestamptz DEFAULT clock_timestamp();", "adding-field-with-default"),
        ("ALTER TABLE messages ADD CONSTRAINT c CHECK (role <> '');", "constraint-missing-not-valid"),
        ("ALTER TABLE messages ADD FOREIGN KEY (user_id) REFERENCES users (id);", "adding-foreign-key-constraint"),
        ("ALTER TABLE messages ADD CONSTRAINT u UNIQUE (role);", "disallowed-unique-constraint"),
        ("CREATE INDEX ix ON messages (role);", "require-concurrent-index-creation"),
        ("DROP INDEX ix;", "require-concurrent-index-deletion"),
        ("CREATE INDEX CONCURRENTLY ix ON messages (role);", "ban-concurrent-index-creation-in-transaction"),
        ("ALTER TABLE messages ALTER COLUMN role DROP DEFAULT;", "ban-drop-default"),
        ("this is no SQL;", "syntax-error"),
    ],
)
def test_what_may_break_or_block_the_release_that_runs_is_found(sql: str, rule: str) -> None:
    assert rule in rules(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE messages ADD COLUMN model varchar(20);",
        "ALTER TABLE messages ADD COLUMN n int NOT NULL DEFAULT 0;",
        "ALTER TABLE messages ADD CONSTRAINT c CHECK (role <> '') NOT VALID;",
        BLOCK.format("CREATE INDEX CONCURRENTLY ix ON messages (role);"),
        "CREATE TABLE rooms (id serial PRIMARY KEY, name char(3) UNIQUE, user_id int REFERENCES users (id));",
        "UPDATE messages SET role = 'user' WHERE role = 'human';",
        "-- squawk-ignore ban-drop-column\nALTER TABLE messages DROP COLUMN content;",
    ],
)
def test_what_is_harmless_or_a_matter_of_taste_is_not(sql: str) -> None:
    assert rules(sql) == set()


@pytest.mark.parametrize("between", ["", "COMMIT;\nBEGIN;"], ids=["one transaction", "two"])
@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX ix ON rooms (name);",
        'CREATE UNIQUE INDEX ix ON public."rooms" USING btree (name);',
        "ALTER TABLE rooms ADD CONSTRAINT f FOREIGN KEY (user_id) REFERENCES users (id);",
        "ALTER TABLE ONLY rooms\n    ADD CONSTRAINT u\n    UNIQUE (name);",
    ],
)
def test_nobody_uses_a_table_that_the_same_revisions_create(sql: str, between: str) -> None:
    assert rules(f"CREATE TABLE rooms (name text, user_id int);\n{between}\n{sql}") == set()
    assert rules(sql) != set()


def test_a_finding_says_where_it_is_in_which_revision_and_why() -> None:
    first = "BEGIN;\n\n-- 日本語で\nALTER TABLE users ADD COLUMN a text;\n\nCOMMIT;"
    second = (
        "BEGIN;\n\nALTER TABLE users ADD COLUMN b text;\n-- 部屋の名前\nALTER TABLE\n    rooms /* 部屋 */\n    DROP COLUMN name;\nCOMMIT;"
    )
    (found,) = lint({"0008": first, "0009": second})
    assert (found.revision, found.line, found.rule) == ("0009", 7, "ban-drop-column")
    assert second.splitlines()[found.line - 1].strip() == "DROP COLUMN name;"
    assert found.sql == "ALTER TABLE\n    rooms /* 部屋 */\n    DROP COLUMN name"
    assert "break existing clients" in found.message


def test_nothing_to_look_at_finds_nothing() -> None:
    assert lint({}) == ()


def test_what_alembic_prints_is_taken_apart_by_revision() -> None:
    printed = (
        "BEGIN;\n\nCREATE TABLE alembic_version (...);\n\n-- Running upgrade  -> 1a\n\nSELECT 1;\n\nCOMMIT;\n\n"
        "BEGIN;\n\n-- Running upgrade 1a -> 2b\n\nSELECT 2;\n\nCOMMIT;\n\n"
    )
    found = upgrade_scripts(printed)
    assert list(found) == ["1a", "2b"]
    assert found["1a"].splitlines()[-1] == "COMMIT;"
    assert "alembic_version" not in found["1a"]
    assert found["2b"].splitlines()[0] == "BEGIN;"
    assert upgrade_scripts("") == {}


def test_what_a_downgrade_drops_is_read_from_its_sql() -> None:
    sql = """
        DROP TABLE messages, "Odd Name", public.users;
        -- DROP TABLE in_a_comment;
        ALTER TABLE ONLY rooms DROP COLUMN IF EXISTS floor, DROP COLUMN "Höhe", ADD COLUMN x int;
        ALTER TABLE rooms DROP CONSTRAINT c;
        ALTER TABLE users DROP COLUMN name;
        drop table if exists archive.old;
        DROP INDEX ix; DROP TABLE alembic_version;
    """
    assert dropped(sql, besides="alembic_version") == (
        Dropped("messages"), Dropped("Odd Name"), Dropped("users"), Dropped("archive.old"), Dropped("rooms", "floor"), Dropped("rooms", "Höhe"),
    )  # fmt: skip


def test_the_sql_of_the_real_backend_is_linted_as_it_is_printed(migrating: MigratingStack) -> None:
    bad = Written("x1", "CREATE INDEX ix ON users (display_name)")
    release = migrating.release("a", Written("x0", "ALTER TABLE users ADD COLUMN mail text"), bad)
    chain = read_chain(migrating.folder(release) / "backend" / "alembic" / "versions")
    assert [one.findings for one in pending(migrating, release, None, chain.revisions)] == [()] * len(chain.revisions)  # type: ignore[arg-type]
    found = pending(migrating, release, HEAD, chain.after(HEAD))  # type: ignore[arg-type]
    assert [one.revision.id for one in found] == ["x0", "x1"]
    assert [(finding.revision, finding.rule) for one in found for finding in one.findings] == [("x1", "require-concurrent-index-creation")]
    assert "ADD COLUMN mail" in str(found[0].sql)
