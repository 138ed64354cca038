"""The verbs of an archive in the flow's order, without a Prefect server, and what a drilled backup leaves in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from officeops.archive.batch import Batch, policy_named
from officeops.archive.query import query
from officeops.clock import iso
from officeops.ledger import Copy, Drill
from officeops.site import Site
from tests.support.site import RUNBOOK

Sql = Callable[..., list[tuple[object, ...]]]

TALKS = """
CREATE TABLE talks (id bigint PRIMARY KEY, title text, at timestamptz NOT NULL);
CREATE TABLE lines (id bigint PRIMARY KEY, talk bigint REFERENCES talks ON DELETE CASCADE, body text, at timestamptz NOT NULL);
CREATE TABLE notes (id bigint PRIMARY KEY, line bigint REFERENCES lines ON DELETE CASCADE, body text);
CREATE INDEX ON lines (talk);
CREATE INDEX ON notes (line);
"""
POLICY = "{name: talks, table: talks, children: [lines, notes], age_column: at, older_than_days: 30, grace_days: 0}"


def runbook(*policies: str) -> str:
    """A runbook with these policies."""
    return RUNBOOK + ("archives:\n" if policies else "") + "".join(f"  - {policy}\n" for policy in policies)


def fill(run_sql: Sql, old: int = 20, young: int = 5, first: int = 1) -> None:
    """Talks with three lines each, of which one has a note; the old ones first."""
    last = first + old + young - 1
    run_sql(
        f"""
        INSERT INTO talks SELECT n, 'talk ' || n, now() - CASE WHEN n < {first + old} THEN interval '60 days' ELSE interval '1 day' END
            FROM generate_series({first}, {last}) AS n;
        INSERT INTO lines SELECT n * 10 + k, n, 'line ' || k || ' of ' || n, now() - interval '60 days'
            FROM generate_series({first}, {last}) AS n, generate_series(1, 3) AS k;
        INSERT INTO notes SELECT n * 100, n * 10 + 1, NULLIF('note of ' || n, 'note of 2') FROM generate_series({first}, {last}) AS n
        """
    )


def export(site: Site, policy: str = "talks") -> list[Batch]:
    """Every batch that there is, exported and read back."""
    made = []
    while (batch := Batch.begin(site, policy_named(site, policy))).export():
        batch.verify()
        made.append(batch)
    return made


def proven(site: Site) -> None:
    """The ledger has a backup from tomorrow that was drilled: as if one had been made after the export."""
    at = iso(site.clock() + timedelta(days=1))
    target = next(iter(site.targets))
    site.ledger.record_copy(Copy("tomorrow", target, at, "database", 1, at, None, False, {"targets": [target]}))
    site.ledger.record_drill(Drill("tomorrow", at, True, 1.0, ""))


def archive(site: Site, policy: str = "talks") -> list[Batch]:
    """From rows to files, with everything between."""
    made = export(site, policy)
    proven(site)
    for batch in made:
        batch.delete()
    return made


def counts(run_sql: Sql) -> tuple[int, ...]:
    """Rows of talks, lines, notes in the database."""
    return tuple(int(str(run_sql(f"SELECT count(*) FROM {table}")[0][0])) for table in ("talks", "lines", "notes"))


def archived(site: Site, table: str, columns: str = "id") -> list[tuple[object, ...]]:
    """Archived rows, in order."""
    return query(site, f"SELECT {columns} FROM {table} ORDER BY 1").rows
