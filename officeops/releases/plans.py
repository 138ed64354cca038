"""What is planned and what was done with the schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from officeops.releases.lint import Finding
from officeops.releases.revisions import Revision
from officeops.releases.sql import Dropped


@dataclass(frozen=True)
class Pending:
    """A revision that the database lacks. sql: what it does, None when the application's migration program cannot tell (`note`: why)."""

    revision: Revision
    sql: str | None
    findings: tuple[Finding, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class MigrationPlan:
    """What a release's migrations would do. target: the revision that `expand` leads to. contract: what waits, the first of them a contract
    revision. ahead: the database is at a revision that this release does not know, a newer one's. planned: False when the runbook names no
    folder of revisions: then the release's own program is run as it is."""

    current: str | None
    target: str | None
    expand: tuple[Pending, ...] = ()
    contract: tuple[Revision, ...] = ()
    ahead: bool = False
    planned: bool = True

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them."""
        return tuple(finding for one in self.expand for finding in one.findings)


@dataclass(frozen=True)
class DowngradePlan:
    """The way back. target: the revision that it leads to, None for a database without any. revisions: what is undone, newest first. sql:
    what that does, None when the migration program cannot tell; then `drops` is not known either. rows: how many each dropped table has
    now. needed: whether the release that was asked about cannot do without."""

    current: str | None
    target: str | None
    revisions: tuple[Revision, ...] = ()
    sql: str | None = ""
    dropped: tuple[Dropped, ...] = ()
    rows: Mapping[str, int] = field(default_factory=dict)
    needed: bool = True

    @property
    def drops(self) -> tuple[str, ...]:
        """What goes, for people: `table audit_log, 1,234 rows`."""
        return tuple(f"{one}{self._rows(one)}" for one in self.dropped)

    def _rows(self, one: Dropped) -> str:
        rows = self.rows.get(one.table) if one.column is None else None
        return "" if rows is None else f", {rows:,} rows"


@dataclass(frozen=True)
class Migrated:
    """What was done: from which revision to which, through which revisions."""

    before: str | None
    after: str | None
    revisions: tuple[Revision, ...] = ()


@dataclass(frozen=True)
class Known:
    """A revision of the release that runs. applied: the database has it. current: it is the database's."""

    revision: Revision
    applied: bool
    current: bool


@dataclass(frozen=True)
class Standing:
    """How the database stands to the release that runs (its sha). head: where the release's revisions end. expand, contract: those that the
    database lacks, the second from the first contract revision on. ahead: the database is at a revision that the release does not know."""

    release: str
    current: str | None
    head: str | None
    expand: tuple[Revision, ...] = ()
    contract: tuple[Revision, ...] = ()
    ahead: bool = False
