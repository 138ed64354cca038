"""Archived rows can be asked, each once, and nothing else can."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow.parquet as pq
import pytest

from officeops.archive.query import query
from officeops.errors import UsageError
from officeops.site import Site
from tests.support.archives import POLICY, TALKS, archive, archived, fill
from tests.support.s3 import KEYS, S3Endpoint

Sql = Callable[..., list[tuple[object, ...]]]


def test_tables_have_their_names_and_their_batch(site: Site) -> None:
    (batch,) = archive(site)
    answer = query(
        site,
        "SELECT t.id, count(*) AS lines, min(t.officeops_batch) FROM public.talks t JOIN lines l ON l.talk = t.id GROUP BY 1 ORDER BY 1 LIMIT 2",
    )
    assert answer.columns == ("id", "lines", "min(t.officeops_batch)")
    assert answer.rows == [(1, 3, batch.id), (2, 3, batch.id)]


def test_batches_of_different_shapes_are_one_table(site: Site, run_sql: Sql) -> None:
    archive(site)
    run_sql("ALTER TABLE talks ADD COLUMN mood text")
    fill(run_sql, first=100)
    run_sql("UPDATE talks SET mood = 'calm', at = '-infinity' WHERE id = 100")
    archive(site)
    rows = archived(site, "talks", 'id, mood, "at"::text')
    assert len(rows) == 40
    assert rows[20] == (100, "calm", "-infinity")
    assert rows[0][1] is None


def test_a_database_without_archives_says_so(site: Site) -> None:
    with pytest.raises(UsageError, match="Archived tables: none yet"):
        query(site, "SELECT * FROM talks")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "SET enable_external_access = true",
        "SELECT * FROM lines; INSTALL httpfs",
        "SELEC 1",
    ],
)
def test_nothing_else_can_be_read_or_written(statement: str, site: Site) -> None:
    archive(site)
    with pytest.raises(UsageError):
        query(site, statement)


def test_files_that_are_far_away_are_fetched_once(site_of: Callable[..., Site], run_sql: Sql, s3: S3Endpoint) -> None:
    run_sql(TALKS)
    fill(run_sql)
    site = site_of(POLICY.replace("grace", f"target: 's3://{s3.new_bucket()}/office?endpoint={s3.url}', grace"), **KEYS)
    archive(site)
    assert archived(site, "talks", "count(*)") == [(20,)]
    (copy,) = (site.home / "archive-files").rglob("*.parquet")
    assert archived(site, "talks", "max(id)") == [(20,)]
    copy.write_bytes(b"")
    assert archived(site, "talks", "max(id)") == [(20,)]


def test_any_tool_reads_the_files(site: Site) -> None:
    (batch,) = archive(site)
    record = batch.record
    path = record.targets[0].removeprefix("file:") + "/" + record.contents.tables[1].object
    table = pq.read_table(path)
    assert table.column_names == ["officeops_unit", "officeops_fingerprint", "id", "talk", "body", "at"]
    assert table.column("id").to_pylist()[:4] == [11, 12, 13, 21]
    assert str(table.schema.field("at").type) == "timestamp[us, tz=UTC]"
    assert table.schema.field("id").metadata[b"postgresql"] == b"bigint"
    assert b"CREATE TABLE public.lines" in table.schema.metadata[b"officeops"]
