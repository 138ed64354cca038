"""What the ledger knows of logs: how far each was read, where its lines are, and what is missing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, select, update

from officeops.clock import iso
from officeops.ledger.schema import log_cursors, log_gaps, log_left_overs, log_parts

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Table


@dataclass(frozen=True)
class LogCursor:
    """How far a log was read. sequence: of the last collecting that found lines. last_at: of the last line, ISO 8601 in UTC. ended: it was
    read to its end after it had ended."""

    source: str
    service: str
    sequence: int
    cursor: str | None
    last_at: str | None
    ended: bool


@dataclass(frozen=True)
class LogPart:
    """Lines of one log and day. id: its key in a target, without what all have in common. sequence: of the collecting that made it.
    bytes, sha256: of the file; plain_bytes: of the services' own text. targets: where it is stored. waits: not everywhere yet."""

    id: str
    source: str
    sequence: int
    service: str
    day: str
    lines: int
    plain_bytes: int
    bytes: int
    sha256: str
    first_at: str
    last_at: str
    targets: tuple[str, ...] = ()
    waits: bool = True


@dataclass(frozen=True)
class LogLeftOver:
    """A file in targets that is to be removed, by the id of the part that it is no more, or not yet."""

    id: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class LogGap:
    """Lines that may be missing. Times are ISO 8601 in UTC; after, before: of the lines around it."""

    source: str
    sequence: int
    service: str
    found_at: str
    after: str | None
    before: str | None
    why: str


class LogRecords:
    """The part of the ledger that is about logs."""

    _stack: str

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Connection]: ...

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Connection]: ...

    def log_cursors(self) -> dict[str, LogCursor]:
        """By the log's id."""
        return {row["source"]: LogCursor(**row) for row in self._rows(log_cursors)}

    def record_collected(self, cursor: LogCursor, parts: Sequence[LogPart] = (), gap: LogGap | None = None) -> None:
        """How far a log was read, and the parts that hold what was read, in one transaction: both are there, or neither."""
        with self._writing() as connection:
            same = and_(log_cursors.c.stack == self._stack, log_cursors.c.source == cursor.source)
            connection.execute(delete(log_cursors).where(same))
            connection.execute(log_cursors.insert().values(stack=self._stack, **vars(cursor)))
            for part in parts:
                connection.execute(log_parts.insert().values(stack=self._stack, **{**vars(part), "targets": list(part.targets)}))
            if gap is not None:
                known = and_(log_gaps.c.stack == self._stack, log_gaps.c.source == gap.source, log_gaps.c.sequence == gap.sequence)
                connection.execute(delete(log_gaps).where(known))
                connection.execute(log_gaps.insert().values(stack=self._stack, **vars(gap)))

    def log_parts(self, *, since: datetime | None = None, waiting: bool = False) -> list[LogPart]:
        """In the order in which they were made. since: those with lines from then on. waiting: those that are not stored everywhere."""
        wanted = [log_parts.c.last_at >= iso(since)[:19]] if since is not None else []
        wanted += [log_parts.c.waits.is_(True)] if waiting else []
        found = [LogPart(**{**row, "targets": tuple(row["targets"])}) for row in self._rows(log_parts, *wanted)]
        return sorted(found, key=lambda one: (one.source, one.sequence, one.id))

    def record_stored(self, part: LogPart) -> None:
        """Where it is stored, and whether it waits."""
        with self._writing() as connection:
            values = {"targets": list(part.targets), "waits": part.waits}
            connection.execute(update(log_parts).where(self._part(part.id)).values(values))

    def forget_log_part(self, part: str) -> None:
        """It is gone; no error when it is not there."""
        with self._writing() as connection:
            connection.execute(delete(log_parts).where(self._part(part)))

    def record_log_left_over(self, left: LogLeftOver) -> None:
        """It is to be removed; again is no harm."""
        with self._writing() as connection:
            self._leave_over(connection, left)

    def record_merged(self, part: LogPart, parts: Sequence[LogPart]) -> None:
        """`part`, which was left over, takes the place of these, which are now; in one transaction."""
        with self._writing() as connection:
            for one in parts:
                connection.execute(delete(log_parts).where(self._part(one.id)))
                self._leave_over(connection, LogLeftOver(one.id, one.targets))
            connection.execute(log_parts.insert().values(stack=self._stack, **{**vars(part), "targets": list(part.targets)}))
            connection.execute(delete(log_left_overs).where(self._left_over(part.id)))

    def log_left_overs(self) -> list[LogLeftOver]:
        """What is to be removed."""
        return [LogLeftOver(row["id"], tuple(row["targets"])) for row in self._rows(log_left_overs)]

    def forget_log_left_over(self, identifier: str) -> None:
        """It is gone; no error when it is not there."""
        with self._writing() as connection:
            connection.execute(delete(log_left_overs).where(self._left_over(identifier)))

    def log_gaps(self, *, since: datetime | None = None) -> list[LogGap]:
        """Those found since then, oldest first."""
        found = [LogGap(**row) for row in self._rows(log_gaps)]
        return sorted((one for one in found if since is None or one.found_at >= iso(since)), key=lambda one: one.found_at)

    def _leave_over(self, connection: Connection, left: LogLeftOver) -> None:
        connection.execute(delete(log_left_overs).where(self._left_over(left.id)))
        connection.execute(log_left_overs.insert().values(stack=self._stack, id=left.id, targets=list(left.targets)))

    def _left_over(self, identifier: str) -> Any:
        return and_(log_left_overs.c.stack == self._stack, log_left_overs.c.id == identifier)

    def _part(self, part: str) -> Any:
        return and_(log_parts.c.stack == self._stack, log_parts.c.id == part)

    def _rows(self, table: Table, *wanted: ColumnElement[bool]) -> list[dict[str, Any]]:
        with self._reading() as connection:
            rows = connection.execute(select(table).where(table.c.stack == self._stack, *wanted)).mappings().all()
        return [{str(key): value for key, value in row.items() if key != "stack"} for row in rows]
