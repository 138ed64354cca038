"""What the watcher keeps in the ledger: measured values, alerts, silences, incidents."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, select

from officeops.clock import iso, parse_iso
from officeops.ledger.schema import samples

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from officeops.releases.watch import Figures


@dataclass(frozen=True)
class Sample:
    """One round's values by name. at: ISO 8601 in UTC. wrong: names of what was not well. counters: of the application, by service and colour."""

    at: str
    values: Mapping[str, float | None]
    wrong: tuple[str, ...] = ()
    counters: Mapping[str, Figures] = field(default_factory=dict)

    @cached_property
    def moment(self) -> datetime:
        """`at` as a time."""
        return parse_iso(self.at)


class WatchRecords:
    """The part of the ledger that is the watcher's."""

    _stack: str

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Connection]: ...

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Connection]: ...

    def record_sample(self, sample: Sample, *, keep_since: datetime) -> None:
        """Adds a round, or replaces one of the same moment. Those before `keep_since` go."""
        from officeops.probes.figures import stored

        with self._writing() as connection:
            mine = samples.c.stack == self._stack
            connection.execute(delete(samples).where(mine, (samples.c.at < iso(keep_since)) | (samples.c.at == sample.at)))
            row = {"stack": self._stack, "at": sample.at, "values": dict(sample.values), "wrong": list(sample.wrong)}
            connection.execute(samples.insert().values(**row, counters=stored(sample.counters)))

    def samples(self, *, since: datetime, day_before: datetime | None = None) -> list[Sample]:
        """Rounds since then, oldest first; before them the first one after `day_before`."""
        query = select(samples).where(samples.c.stack == self._stack).order_by(samples.c.at)
        with self._reading() as connection:
            rows = list(connection.execute(query.where(samples.c.at >= iso(since))).mappings())
            if day_before is not None:
                early = and_(samples.c.at >= iso(day_before), samples.c.at < iso(since))
                rows = [*connection.execute(query.where(early).limit(1)).mappings(), *rows]
        return list(_samples(rows))


def _samples(rows: Sequence[Mapping[Any, Any]]) -> Iterator[Sample]:
    from officeops.probes.figures import restored

    for row in rows:
        yield Sample(row["at"], row["values"], tuple(row["wrong"]), restored(row["counters"]))
