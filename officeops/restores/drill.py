"""The restore drill: a backup restored beside the live database, compared, checked, asked, dropped. The only proof of a backup."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from officeops.backups.catalogue import record_drill
from officeops.postgres import databases
from officeops.restores.beside import Beside
from officeops.restores.restore import new_operation, put_in_order
from officeops.restores.source import BackupSource

if TYPE_CHECKING:
    from officeops.site import Site


class Drill:
    """One drill. However it ends, the result is written down; one that could not run has failed."""

    def __init__(self, site: Site, source: BackupSource, operation: str, stamp: str) -> None:
        self.site, self.source, self.operation = site, source, operation
        scratch = databases.side_name(site.stack.database().database, "drill", stamp)
        self.beside = Beside(site, source, scratch, operation=operation)
        self._started = site.clock()
        self.problems: list[str] = []

    @classmethod
    def begin(cls, site: Site, source: BackupSource) -> Self:
        """Journals a drill. The caller holds the stack's lock."""
        put_in_order(site)
        operation, stamp = new_operation(site, "drill")
        site.ledger.begin("drill", operation, source=source.label)
        return cls(site, source, operation, stamp)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> None:
        ended = self.site.clock()
        detail = "fingerprints equal, structure sound, smoke queries answered" if error is None else str(error)
        try:
            self.beside.close()
            self.beside.drop()
        finally:
            self.site.ledger.end(self.operation, "done" if error is None else "failed", None if error is None else detail)
            seconds = (ended - self._started).total_seconds()
            self.problems = record_drill(self.site, self.source.manifest.id, at=ended, ok=error is None, seconds=seconds, detail=detail)
