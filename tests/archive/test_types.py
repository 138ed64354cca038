"""Values of every type are the same after a way through Parquet and back, by the database's own judgement and by their text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from officeops.archive.batch import Batch
from officeops.archive.returning import Return
from officeops.errors import RefusedError
from officeops.postgres import databases
from officeops.postgres.connect import connected
from officeops.site import Site
from tests.support.archives import archive, archived, runbook
from tests.support.postgres import Running
from tests.support.site import make_site

Sql = Callable[..., list[tuple[object, ...]]]

KINDS = """
CREATE TYPE mood AS ENUM ('calm', 'busy, "very"', 'NULL', '');
CREATE TYPE place AS (floor int, "the room" text);
CREATE DOMAIN short_text AS varchar(40) CHECK (value <> 'x');
CREATE DOMAIN price AS numeric(10, 2);
CREATE DOMAIN shorter AS short_text;
CREATE TABLE "Odd ""Table"", 100 %% /of it" (
    "the id" bigint GENERATED ALWAYS AS IDENTITY, "a.b" text COLLATE "C" NOT NULL, "at" timestamptz DEFAULT '2020-01-01', gone int,
    flag bool, tiny int2, number int4, amount numeric, exact numeric(12, 3), huge numeric(38, 10), hundreds numeric(5, -2), ratio float8, small real,
    body text, code char(5), name varchar(9), data bytea, stamp timestamp, day date, clock time, zoned timetz, span interval, id uuid,
    doc json, docb jsonb, tags text[], grid int[][], moods mood[], feeling mood, desk place, kin regclass, net inet, cid cidr, mac macaddr,
    range int4range, spans tstzmultirange, cash money, bits varbit, bit3 bit(3), word short_text, worth price, wordy shorter, search tsvector, spot point,
    "100 %% sure" text, "select" int, "会議室" text, "Ünï; DROP TABLE x; --" int,
    doubled int GENERATED ALWAYS AS (number / 2) STORED, loud text GENERATED ALWAYS AS (upper(body)) STORED,
    PRIMARY KEY ("a.b", "the id")
);
ALTER TABLE "Odd ""Table"", 100 %% /of it" DROP COLUMN gone;
""".replace("%%", "%")
POLICY = """{name: odd, table: '"Odd ""Table"", 100 % /of it"', age_column: at, older_than_days: 30, grace_days: 0}"""
TABLE = '"Odd ""Table"", 100 % /of it"'
ROWS = """
INSERT INTO "Odd ""Table"", 100 % /of it" ("a.b", flag, tiny, number, amount, exact, huge, hundreds, ratio, small, body, code,
    name, data, stamp, day, clock, zoned,
    span, id, doc, docb, tags, grid, moods, feeling, desk, kin, net, cid, mac, range, spans, cash, bits, bit3, word, worth,
    wordy, search, spot, "100 % sure", "select", "会議室", "Ünï; DROP TABLE x; --")
VALUES
 ('one', true, 32767, 2147483647, 1.0, 1.100, 1234567890123456789012345678.0123456789, 12300, 0.1, 'NaN',
    E'one\\n会議\\r\\n"q",\\t', 'ab', '', '\\x0001ff', '2024-05-06 07:08:09.000001',
  '2024-02-29', '24:00', '07:08:09+09', '1 day', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{"b": 1, "a":  "\\u0041"}',
    '{"b": 1, "a": 2}', '{a,NULL,"NULL",""}', '{{1,2},{3,NULL}}',
  '{calm,NULL}', 'calm', (1, 'north "x"'), 'pg_class', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', '[1,5)',
    '{[2020-01-01,infinity)}', 12.34, B'101', B'010', 'w', 1.50, 'y',
  'a b', '(1,2)', '%s', 1, '会議', -1),
 ('two', false, -32768, -2147483648, 'NaN', NULL, -0.0000000001, 0, '-Infinity', '-0', '', '', 'x', '', 'infinity', 'infinity',
    '00:00', '00:00:00-15:59', '24 hours', NULL, 'null', '[]', '{}', '{}',
  '{"busy, \\"very\\"",""}', '', (NULL, ''), NULL, '::1', '::/0', NULL, 'empty', '{}', -1, B'', B'000', NULL, -0.01, '', '',
    '(NaN,-Infinity)', '', NULL, E'\\\\.', 0),
 ('', NULL, 0, 0, 'Infinity', 999999999.999, 0, 99900, 'NaN', 1e-45, E'\\\\N', NULL, 'é会', NULL, '4713-01-01 BC',
    '0044-03-15 BC', NULL, NULL, '-1 year +2 mons -3.5 sec', NULL, '"\\u2028"', '"x"', NULL, NULL,
  NULL, 'NULL', NULL, NULL, NULL, NULL, NULL, '(,)', NULL, NULL, NULL, NULL, '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 ('three', NULL, NULL, NULL, 1.00, NULL, NULL, NULL, 1e308, 3.4e38, NULL, NULL, NULL, NULL, '-infinity', '5874897-12-31', NULL,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
"""


def as_text(run_sql: Sql) -> list[tuple[object, ...]]:
    return run_sql(f'SELECT t::text FROM {TABLE} AS t ORDER BY "the id"')


@pytest.mark.parametrize("calm", [False, True], ids=["with infinities", "without"])
def test_every_type_comes_back_as_it_was(calm: bool, site_of: Callable[..., Site], run_sql: Sql) -> None:
    run_sql(KINDS)
    run_sql(ROWS)
    if calm:
        run_sql(f"UPDATE {TABLE} SET stamp = '0001-01-01', day = '9999-12-31', hundreds = NULL")
    before = as_text(run_sql)
    site = site_of(POLICY)
    (batch,) = archive(site, "odd")
    (table,) = batch.record.contents.tables
    stored = {column.name: column.stored for column in table.columns}
    assert as_text(run_sql) == []
    assert stored["exact"] == ("decimal(12, 3)" if calm else "string")
    assert (stored["stamp"], stored["day"]) == (("timestamp", "date32") if calm else ("string", "string"))
    assert (stored["flag"], stored["ratio"], stored["data"], stored["amount"], stored["doc"]) == (
        "bool",
        "double",
        "binary",
        "string",
        "string",
    )
    assert table.object.endswith("/00-public.Odd%20%22Table%22%2C%20100%20%25%20%2Fof%20it.parquet")
    returned = Return(site, batch.id).run()
    assert (returned.rows, returned.refused) == ({table.label: len(before)}, 0)
    assert as_text(run_sql) == before


def test_the_definition_in_the_file_makes_the_table_again(site_of: Callable[..., Site], run_sql: Sql) -> None:
    run_sql(KINDS)
    run_sql(ROWS)
    site = site_of(POLICY)
    (batch,) = archive(site, "odd")
    definition = batch.record.contents.tables[0].definition
    run_sql(f"DROP TABLE {TABLE}; DROP DOMAIN shorter, short_text, price; DROP TYPE mood, place")
    run_sql('CREATE TYPE public.place AS (floor int, "the room" text); CREATE DOMAIN public.short_text AS varchar(40)')
    run_sql(
        "SET search_path TO pg_catalog; " + "\n".join(line for line in definition.splitlines() if "DOMAIN public.short_text" not in line)
    )
    assert Return(site, batch.id).run().rows == {'public.Odd "Table", 100 % /of it': 4}


NO_NUL = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=30)
VALUES = st.fixed_dictionaries(
    {
        "n": st.one_of(st.none(), st.decimals(allow_nan=False), st.sampled_from([Decimal("NaN"), Decimal("Infinity")])),
        "e": st.one_of(st.none(), st.decimals(-999999, 999999, places=3)),
        "f": st.one_of(st.none(), st.floats()),
        "r": st.one_of(st.none(), st.floats(width=32)),
        "i": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        "s": st.one_of(st.none(), NO_NUL),
        "b": st.one_of(st.none(), st.binary(max_size=20)),
        "t": st.one_of(st.none(), st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=9))]))),
        "p": st.one_of(st.none(), st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))),  # noqa: DTZ001 - a timestamp without one
        "d": st.one_of(st.none(), st.dates()),
        "a": st.one_of(st.none(), st.lists(st.one_of(st.none(), NO_NUL), max_size=4)),
    }
)


@pytest.fixture
def made(site_of: Callable[..., Site], run_sql: Sql) -> Site:
    run_sql(
        "CREATE TABLE made (id int PRIMARY KEY, at date DEFAULT '2020-01-01', n numeric, e numeric(9, 3), f float8, r real, i int8, s text, b bytea,"
        " t timestamptz, p timestamp, d date, a text[], j jsonb, js json)"
    )
    return site_of("{name: made, table: made, age_column: at, older_than_days: 30, grace_days: 0}")


def test_whatever_the_values_are(made: Site, run_sql: Sql, postgres: Running, database: str) -> None:
    """One site for all examples: only the rows differ."""

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(VALUES, min_size=1, max_size=40))
    def holds(rows: list[dict[str, object]]) -> None:
        for left in Batch.pending(made):  # of an example that failed
            left.discard()
        with connected(postgres.address(database), application="test") as connection:
            connection.execute("DELETE FROM public.made")
            statement = (
                "INSERT INTO public.made (id, n, e, f, r, i, s, b, t, p, d, a, j, js) VALUES (%(id)s, %(n)s, %(e)s, %(f)s, %(r)s, %(i)s, %(s)s, %(b)s,"
                " %(t)s, %(p)s, %(d)s, %(a)s, to_jsonb(%(s)s::text), to_json(%(s)s::text))"
            )
            connection.cursor().executemany(statement, [{**row, "id": number} for number, row in enumerate(rows)])
        before = run_sql("SELECT m::text FROM made AS m ORDER BY id")
        (batch,) = archive(made, "made")
        assert run_sql("SELECT count(*) FROM made") == [(0,)]
        assert Return(made, batch.id).run().refused == 0
        assert run_sql("SELECT m::text FROM made AS m ORDER BY id") == before

    holds()


def test_numbers_that_are_none_are_equal_however_they_came_to_be(made: Site, run_sql: Sql) -> None:
    """On this processor infinity minus infinity has a sign, which no text has."""
    run_sql("INSERT INTO made (id, f, r) VALUES (1, 'inf'::float8 - 'inf'::float8, 'inf'::float4 - 'inf'::float4), (2, 'NaN', 'NaN')")
    (batch,) = archive(made, "made")
    assert Return(made, batch.id).run().refused == 0


def test_a_row_larger_than_a_block_goes_through(made: Site, run_sql: Sql) -> None:
    run_sql(r"INSERT INTO made (id, s) SELECT n, repeat(E'long, \n\"', 1200000) FROM generate_series(1, 2) AS n")
    (batch,) = archive(made, "made")
    assert Return(made, batch.id).run().refused == 0
    assert run_sql(r"SELECT count(*) FROM made WHERE s = repeat(E'long, \n\"', 1200000)") == [(2,)]


@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_JP"])
def test_text_in_other_encodings(encoding: str, folder: Path, postgres: Running, database: str) -> None:
    name, word = f"{database}_{encoding.lower()}", {"LATIN1": "café", "EUC_JP": "会議室"}[encoding]
    with databases.maintenance(postgres.address(), application="test") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C'".encode())
    with connected(postgres.address(name), application="test") as connection:
        connection.execute("CREATE TABLE public.words (word text PRIMARY KEY, at date)")
        connection.execute("INSERT INTO public.words VALUES (%s, '2020-01-01')", (word,))
    site = make_site(folder, postgres, name, runbook("{name: words, table: words, age_column: at, older_than_days: 30, grace_days: 0}"))
    archive(site, "words")
    assert archived(site, "words", "word") == [(word,)]


def test_a_database_that_does_not_know_its_encoding_is_refused(folder: Path, postgres: Running, database: str) -> None:
    name = f"{database}_ascii"
    with databases.maintenance(postgres.address(), application="test") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'".encode())
    policy = "{name: words, table: words, age_column: at, older_than_days: 30}"
    site = make_site(folder, postgres, name, runbook(policy))
    with pytest.raises(RefusedError, match="SQL_ASCII"):
        Batch.begin(site, site.config.runbook.archives[0])
