"""Reading and writing the ledger. Every write is one transaction, durable when the method returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, and_, create_engine, delete, event, func, inspect, select, update
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from officeops.clock import Clock, iso, utc_now
from officeops.errors import OfficeOpsError
from officeops.ledger.logs import LogRecords
from officeops.ledger.schema import RELEASE_LENGTH, approvals, backup_copies, drills, metadata, operations, releases
from officeops.ledger.watching import WatchRecords

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Row

Facts = dict[str, Any]
_BUSY_MS = 30_000
_SCHEMA_LOCK = 0x0FF1CE


class LedgerError(OfficeOpsError):
    """The ledger cannot be opened, read or written, or was told something twice."""


@dataclass(frozen=True)
class Operation:
    """Something of several steps: `state` is the step that was begun last, `outcome` None until it ended."""

    id: str
    kind: str
    state: str
    facts: Facts
    started_at: str
    finished_at: str | None
    outcome: str | None
    error: str | None


@dataclass(frozen=True)
class Copy:
    """A backup in one target, as the ledger knows it. Times are ISO 8601 in UTC; `manifest` is the parsed JSON."""

    backup: str
    target: str
    at: str
    kind: str
    bytes: int
    verified_at: str | None
    problem: str | None
    pinned: bool
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class Drill:
    """One restore drill of a backup. ok: restored, fingerprints equal, smoke queries answered."""

    backup: str
    at: str
    ok: bool
    seconds: float
    detail: str


@dataclass(frozen=True)
class ReleaseRecord:
    """One taking over of a release. Times are ISO 8601 in UTC. `hashes`: sha256 of `compose`, `lock`, `caddyfile`. `outcome`: deployed,
    failed or undone; None while it goes on. The values of its settings are not here but in a file that only its owner can read."""

    id: str
    sha: str
    kind: str
    strategy: str
    colour: str
    artifact: Mapping[str, str]
    hashes: Mapping[str, str]
    who: str
    why: str
    created_at: str
    revision: str | None = None
    deployed_at: str | None = None
    retired_at: str | None = None
    outcome: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Approval:
    """A question to people whether `action` may be done, and what they said. Times are ISO 8601 in UTC. terms: what was asked about.
    decision: approve or reject; None while nobody answered. who: as stated by whoever answered."""

    id: str
    action: str
    run: str
    terms: Mapping[str, Any]
    asked_at: str
    decision: str | None = None
    who: str | None = None
    why: str | None = None
    decided_at: str | None = None


class Ledger(WatchRecords, LogRecords):
    """The ledger of one stack."""

    def __init__(self, engine: Engine, stack: str, *, clock: Clock = utc_now) -> None:
        self._engine, self._stack, self._clock = engine, stack, clock
        with self._writing() as connection:
            if engine.dialect.name == "postgresql":  # two first starts at once: the second one waits, then finds everything there
                connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
            metadata.create_all(connection)
            _widen(connection)

    @classmethod
    def open(cls, home: Path, stack: str, url: str | None = None, *, clock: Clock = utc_now) -> Ledger:
        """The ledger at `url`, or the SQLite file in `home`, made when missing. Raises OfficeOpsError when it cannot be opened."""
        try:
            home.mkdir(parents=True, exist_ok=True)
            if url is None:
                (home / "ledger.db").touch(mode=0o600)  # SQLite's own mode would let everybody read it
            engine = create_engine(url or URL.create("sqlite", database=str(home / "ledger.db")))
        except (OSError, ArgumentError, ImportError) as error:
            raise LedgerError(
                f"The ledger cannot be opened: {type(error).__name__}.", todo="Correct LEDGER_URL or OFFICEOPS_HOME in .env."
            ) from error
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _durable)
        return cls(engine, stack, clock=clock)

    # Operations: the journal

    def begin(self, kind: str, operation: str, **facts: Any) -> Operation:
        """Journals that `operation` begins. Raises OfficeOpsError when that id was used before."""
        now = self._now()
        row = {"id": operation, "stack": self._stack, "kind": kind, "state": "begun", "facts": facts, "started_at": now, "updated_at": now}
        try:
            with self._writing() as connection:
                connection.execute(operations.insert().values(row))
        except IntegrityError as error:
            raise LedgerError(f"There is an operation {operation} already.", state="Nothing was begun.") from error
        return Operation(operation, kind, "begun", facts, now, None, None, None)

    def advance(self, operation: str, state: str, **facts: Any) -> None:
        """Journals, before it is done, that `operation` takes the step `state`; `facts` are added to those it has."""
        with self._writing() as connection:
            known = connection.execute(select(operations.c.facts).where(self._operation(operation)).with_for_update()).scalar_one()
            values = {"state": state, "facts": {**known, **facts}, "updated_at": self._now()}
            connection.execute(update(operations).where(self._operation(operation)).values(values))

    def end(self, operation: str, outcome: str, error: str | None = None) -> None:
        """Journals that `operation` is over. One that has ended keeps its first outcome."""
        now = self._now()
        still_open = and_(self._operation(operation), operations.c.outcome.is_(None))
        with self._writing() as connection:
            values = {"outcome": outcome, "error": None if error is None else _storable(error), "finished_at": now, "updated_at": now}
            connection.execute(update(operations).where(still_open).values(values))

    def operation(self, operation: str) -> Operation | None:
        """The operation of that id, or None."""
        with self._reading() as connection:
            row = connection.execute(select(operations).where(self._operation(operation))).one_or_none()
        return None if row is None else _operation(row)

    def operations(self, kind: str, *, outcome: str | None = None, limit: int | None = None) -> list[Operation]:
        """Operations of a kind with that outcome (None: those that never ended), newest first."""
        ended = operations.c.outcome.is_(None) if outcome is None else operations.c.outcome == outcome
        query = select(operations).where(operations.c.stack == self._stack, operations.c.kind == kind, ended)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(operations.c.started_at.desc()).limit(limit)).all()
        return [_operation(row) for row in rows]

    # Backups and drills: an index of what the targets hold

    def record_copy(self, copy: Copy) -> None:
        """Adds a copy, or replaces what was known of it."""
        with self._writing() as connection:
            self._drop_copy(connection, copy.backup, copy.target)
            connection.execute(backup_copies.insert().values(stack=self._stack, **vars(copy)))

    def forget_copy(self, backup: str, target: str) -> None:
        """Removes a copy from the index; no error when it is not there."""
        with self._writing() as connection:
            self._drop_copy(connection, backup, target)

    def forget_target(self, target: str) -> None:
        """Removes all of a target's copies from the index."""
        with self._writing() as connection:
            connection.execute(delete(backup_copies).where(backup_copies.c.stack == self._stack, backup_copies.c.target == target))

    def copies(self, backup: str | None = None) -> list[Copy]:
        """All known copies, or those of one backup, newest first."""
        query = select(backup_copies).where(backup_copies.c.stack == self._stack)
        if backup is not None:
            query = query.where(backup_copies.c.backup == backup)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(backup_copies.c.at.desc(), backup_copies.c.target)).mappings().all()
        return [Copy(**{key: value for key, value in row.items() if key != "stack"}) for row in rows]

    def record_drill(self, drill: Drill) -> None:
        """Adds a drill; the same one twice is one."""
        with self._writing() as connection:
            same = and_(drills.c.stack == self._stack, drills.c.backup == drill.backup, drills.c.at == drill.at)
            connection.execute(delete(drills).where(same))
            connection.execute(drills.insert().values(stack=self._stack, **{**vars(drill), "detail": _storable(drill.detail)}))

    def drills(self) -> list[Drill]:
        """All drills, newest first."""
        query = select(drills).where(drills.c.stack == self._stack).order_by(drills.c.at.desc())
        with self._reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [Drill(**{key: value for key, value in row.items() if key != "stack"}) for row in rows]

    # Releases

    def record_release(self, record: ReleaseRecord) -> None:
        """Adds a release, or replaces what was known of it."""
        with self._writing() as connection:
            same = and_(releases.c.stack == self._stack, releases.c.id == record.id)
            connection.execute(delete(releases).where(same))
            values = {**vars(record), "error": None if record.error is None else _storable(record.error)}
            connection.execute(releases.insert().values(stack=self._stack, **values))

    def releases(self) -> list[ReleaseRecord]:
        """All releases, newest first."""
        query = select(releases).where(releases.c.stack == self._stack).order_by(releases.c.created_at.desc(), releases.c.id.desc())
        with self._reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [ReleaseRecord(**{key: value for key, value in row.items() if key != "stack"}) for row in rows]

    # Approvals

    def record_approval(self, approval: Approval) -> None:
        """Adds a question or replaces what was known of it. One that was answered keeps its first answer."""
        with self._writing() as connection:
            same = and_(approvals.c.stack == self._stack, approvals.c.id == approval.id)
            connection.execute(delete(approvals).where(same, approvals.c.decision.is_(None)))
            if connection.execute(select(approvals.c.id).where(same)).one_or_none() is None:
                values = {**vars(approval), "why": None if approval.why is None else _storable(approval.why)}
                connection.execute(approvals.insert().values(stack=self._stack, **values))

    def approvals(self) -> list[Approval]:
        """All questions, newest first."""
        query = select(approvals).where(approvals.c.stack == self._stack).order_by(approvals.c.asked_at.desc(), approvals.c.id)
        with self._reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [Approval(**{key: value for key, value in row.items() if key != "stack"}) for row in rows]

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One transaction. One that reads before it writes takes its turn before it reads: else it may write over what another one wrote."""
        with self._explained(), self._engine.begin() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._explained(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as error:  # its text has the statement and its values: people want neither
            raise LedgerError(
                f"The ledger at {self._engine.url.render_as_string(hide_password=True)} cannot be used: {str(error.orig).strip()}.",
                state="What was not journalled was not done.",
                todo="Look after that database or file, then try again.",
            ) from error

    def _now(self) -> str:
        return iso(self._clock())

    def _operation(self, operation: str) -> Any:
        return and_(operations.c.id == operation, operations.c.stack == self._stack)

    def _drop_copy(self, connection: Connection, backup: str, target: str) -> None:
        same = and_(backup_copies.c.stack == self._stack, backup_copies.c.backup == backup, backup_copies.c.target == target)
        connection.execute(delete(backup_copies).where(same))


def _operation(row: Row[Any]) -> Operation:
    return Operation(row.id, row.kind, row.state, dict(row.facts), row.started_at, row.finished_at, row.outcome, row.error)


def _storable(text: str) -> str:
    """What a program printed, without what a database refuses to keep."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def _widen(connection: Connection) -> None:
    """A ledger of a time when a release was a commit and nothing else. SQLite has no lengths."""
    if connection.dialect.name == "postgresql":
        (found,) = (one["type"] for one in inspect(connection).get_columns("releases") if one["name"] == "sha")
        if getattr(found, "length", RELEASE_LENGTH) < RELEASE_LENGTH:
            connection.exec_driver_sql(f"ALTER TABLE releases ALTER COLUMN sha TYPE varchar({RELEASE_LENGTH})")


def _durable(connection: Any, _record: Any) -> None:
    """A journal must survive a power cut: WAL with full synchronisation. Whoever finds it locked waits."""
    connection.isolation_level = None  # transactions begin when we say so
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
