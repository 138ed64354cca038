"""A fingerprint sees every difference of content, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from officeops.postgres import databases
from officeops.postgres.connect import connected
from officeops.postgres.fingerprint import Fingerprint, differences, take
from officeops.site import Site
from tests.support.backups import back_up, drill
from tests.support.postgres import Running

Sql = Callable[..., list[tuple[object, ...]]]
KINDS = """
CREATE TYPE mood AS ENUM ('calm', 'busy');
CREATE TYPE place AS (floor int, "the room" text);
CREATE DOMAIN short_text AS varchar(40) CHECK (value <> 'x');
CREATE TABLE kinds (
    id int PRIMARY KEY, amount numeric, ratio float8, small real, body text, code char(5), data bytea, at timestamptz, span interval,
    doc json, docb jsonb, tags text[], moods mood[], feeling mood, desk place, "of" regclass, net inet, range int4range, money money,
    bits varbit, word short_text, search tsvector, clock timetz, "the row" text, doubled int GENERATED ALWAYS AS (id * 2) STORED
);
ALTER TABLE kinds ADD COLUMN dropped int;
ALTER TABLE kinds DROP COLUMN dropped;
INSERT INTO kinds VALUES
  (1, 1.0, 0, 'NaN', 'one 会議', 'ab', '\\x0001', '2024-05-06 07:08:09.000001+09', '1 day', '{"b": 1, "a": 2}', '{"b": 1, "a": 2}',
   '{a,b}', '{calm}', 'calm', (1, 'north'), 'kinds', '10.0.0.1', '[1,5)', 12.34, B'101', 'w', 'a b', '07:08:09+09', '<a>é</a>'),
  (2, 'NaN', '-Infinity', 1.5, '', 'cd', '', '2024-05-06 07:08:09+09', '24 hours', 'null', '[]', '{}', '{busy,NULL}', 'busy', (2, NULL),
   'pg_class', '::1', 'empty', -1, B'', NULL, '', '07:08:09Z', NULL),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
"""
CHANGES = [
    "UPDATE kinds SET amount = 1.00 WHERE id = 1",
    "UPDATE kinds SET ratio = '-0' WHERE id = 1",
    "UPDATE kinds SET small = 1.5000001 WHERE id = 2",
    "UPDATE kinds SET body = body || ' ' WHERE id = 1",
    "UPDATE kinds SET body = NULL WHERE id = 2",
    "UPDATE kinds SET data = '\\x0002' WHERE id = 1",
    "UPDATE kinds SET at = at + interval '1 microsecond' WHERE id = 1",
    "UPDATE kinds SET span = '24 hours' WHERE id = 1",
    """UPDATE kinds SET doc = '{"a": 2, "b": 1}' WHERE id = 1""",
    """UPDATE kinds SET docb = '{"a": 2, "b": "1"}' WHERE id = 1""",
    "UPDATE kinds SET tags = '{b,a}' WHERE id = 1",
    "UPDATE kinds SET moods = '{busy}' WHERE id = 1",
    "UPDATE kinds SET feeling = 'busy' WHERE id = 1",
    "UPDATE kinds SET desk = (1, 'south') WHERE id = 1",
    "UPDATE kinds SET \"of\" = 'pg_class' WHERE id = 1",
    "UPDATE kinds SET body = CASE id WHEN 1 THEN '' ELSE 'one 会議' END WHERE id < 3",
    "UPDATE kinds SET id = 4 WHERE id = 3",
    "DELETE FROM kinds WHERE id = 3",
    "INSERT INTO nothing DEFAULT VALUES",
    "ALTER TABLE kinds ADD COLUMN more int",
    "CREATE INDEX ON kinds (body)",
    "GRANT SELECT ON kinds TO PUBLIC",
    "SELECT lo_from_bytea(4711, 'x')",
]


def fingerprint(server: Running, database: str) -> Fingerprint:
    with connected(server.address(database), application="test") as connection:
        return take(connection)


@pytest.mark.parametrize("change", CHANGES)
def test_it_sees(change: str, postgres: Running, database: str, run_sql: Sql) -> None:
    run_sql(KINDS)
    before = fingerprint(postgres, database)
    run_sql(change)
    assert differences(before, fingerprint(postgres, database)) != []


def test_the_order_of_rows_and_their_versions_do_not_matter(postgres: Running, database: str, run_sql: Sql) -> None:
    run_sql(KINDS)
    before = fingerprint(postgres, database)
    run_sql("UPDATE kinds SET body = body WHERE id = 1")
    run_sql("VACUUM FULL kinds")
    assert differences(before, fingerprint(postgres, database)) == []


def test_values_of_every_kind_are_equal_after_a_restore(new_site: Callable[..., Site], run_sql: Sql) -> None:
    run_sql(KINDS)
    site = new_site()
    back_up(site)
    assert drill(site)["public.kinds"].rows == 3


def test_numbers_that_are_none_are_equal_after_a_restore(new_site: Callable[..., Site], run_sql: Sql) -> None:
    """On this processor infinity minus infinity has a sign, which no dump has."""
    run_sql("CREATE TABLE odd AS SELECT ('inf'::float8 - 'inf'::float8) AS f, ('inf'::float4 - 'inf'::float4) AS r")
    run_sql("ALTER TABLE odd ADD fs float8[], ADD rs float4[]")
    run_sql("UPDATE odd SET fs = ARRAY[[f, -0], [NULL, 0.1]], rs = ARRAY[r, '-Infinity', 1e-45]")
    assert run_sql("SELECT encode(float8send(f), 'hex') <> encode(float8send('NaN'), 'hex') FROM odd") == [(True,)]
    site = new_site()
    back_up(site)
    assert drill(site)["public.odd"].rows == 1


@pytest.mark.parametrize(("encoding", "literal"), [("SQL_ASCII", "E'caf\\\\xe9 \\\\xff'"), ("EUC_JP", "'会議室'"), ("LATIN1", "'café'")])
def test_databases_in_other_encodings_are_equal_after_a_restore(
    encoding: str, literal: str, new_site: Callable[..., Site], postgres: Running, database: str
) -> None:
    name = f"{database}_{encoding.lower()}"
    with databases.maintenance(postgres.address(), application="test") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C'".encode())
    with connected(postgres.address(name), application="test") as connection:
        connection.execute("CREATE TABLE public.words (word text)")
        connection.execute(f"INSERT INTO public.words VALUES ({literal})".encode())
    site = new_site(name)
    back_up(site)
    assert drill(site)["public.words"].rows == 1
