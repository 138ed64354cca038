"""PostgreSQL from inside, over one connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from officeops.errors import OfficeOpsError
from officeops.probes.reading import Reading, yes

if TYPE_CHECKING:
    from officeops.ledger.watching import Sample
    from officeops.site import Site

_CONNECT_S = 3.0
_DAY = timedelta(hours=24)
_MIN_GROWN = 1e9  # what grew by less is no news, however small it was
_WRAPS_AT = 2_000_000_000
_FACTS = """
SELECT pg_is_in_recovery(),
  (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
  current_setting('max_connections')::int,
  (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
  (SELECT coalesce(max(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)), 0)::float8
    FROM pg_replication_slots),
  pg_database_size(current_database())::float8,
  (SELECT max(age(datfrozenxid))::float8 FROM pg_database)
"""
_TABLES = """
SELECT relname, pg_total_relation_size(pg_class.oid)::float8 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema') AND relpages > 0 ORDER BY relpages DESC LIMIT 5
"""
_FULL = ("too many clients", "remaining connection slots")


def ask_database(site: Site, history: Sequence[Sample]) -> Iterator[Reading]:
    """Everything that its own catalogues say. One that does not let us in is a reading, not an error."""
    from officeops.postgres.connect import connected

    name = site.config.runbook.database.service
    try:
        with connected(site.stack.database(), application="officeops watch", timeout=_CONNECT_S) as connection:
            connection.execute("SET statement_timeout = '2s'")
            facts = connection.execute(_FACTS).fetchone()
            tables = connection.execute(_TABLES).fetchall()
    except OfficeOpsError as error:
        yield from _refused(name, str(error))
        return
    assert facts is not None, "a query without FROM has a row"
    yield yes(f"{name}.answers", "database", "")
    yield from _inside(name, facts, history, site)
    for table, size in tables:
        yield Reading(f"{name}.table.{table}", "bytes", size)


def _inside(name: str, facts: Sequence[Any], history: Sequence[Sample], site: Site) -> Iterator[Reading]:
    recovering, used, allowed, oldest, held, size, age = facts
    yield yes(f"{name}.recovery", "recovery", "it is in recovery" if recovering else "")
    yield Reading(f"{name}.connections", "connections", used / allowed, f"{used} of {allowed}", facts={"allowed": float(allowed)})
    yield Reading(f"{name}.transaction", "transaction", oldest, "the longest transaction")
    yield Reading(f"{name}.wal_held", "wal_held", held, "by replication slots")
    yield Reading(f"{name}.wraparound", "wraparound", age / _WRAPS_AT, "of the transaction ids")
    yield Reading(f"{name}.size", "bytes", size)
    before = _a_day_ago(f"{name}.size", history, site)
    if before:
        grown = size - before
        yield Reading(f"{name}.growth", "growth", grown / before if grown > _MIN_GROWN else 0.0, "in a day")


def _refused(name: str, why: str) -> Iterator[Reading]:
    yield yes(f"{name}.answers", "database", why)
    if any(words in why for words in _FULL):
        yield Reading(f"{name}.connections", "connections", 1.0, "all of them")


def _a_day_ago(name: str, history: Sequence[Sample], site: Site) -> float | None:
    """The value of the oldest round of the last day, when that is long enough ago to say something."""
    now = site.clock()
    found = next((one for one in history if now - one.moment <= _DAY and one.values.get(name) is not None), None)
    return found.values[name] if found and now - found.moment > _DAY * 0.9 else None
