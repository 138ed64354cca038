"""The drill of a backup of volumes: each restored into a new volume, compared entry by entry, removed."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from officeops.backups.catalogue import record_drill
from officeops.restores.restore import new_operation
from officeops.restores.source import VolumeSource
from officeops.volumes.beside import VolumeBeside, chosen, side_volume

if TYPE_CHECKING:
    from officeops.site import Site

DRILL = "volume-drill"
_PROVEN = "every entry restored and equal: names, kinds, modes, owners, times and contents of files"


class VolumeDrill:
    """One drill. However it ends, the result is written down; one that could not run has failed."""

    def __init__(self, site: Site, source: VolumeSource, operation: str, names: dict[str, str]) -> None:
        self.site, self.source, self.operation = site, source, operation
        self.besides = [VolumeBeside(site, source, volume, name, operation=operation) for volume, name in names.items()]
        self._started = site.clock()
        self.problems: list[str] = []

    @classmethod
    def begin(cls, site: Site, source: VolumeSource) -> Self:
        """Journals a drill of everything that the backup holds. The caller holds the stack's lock."""
        put_drills_in_order(site)
        operation, stamp = new_operation(site, DRILL)
        names = {volume: side_volume(volume, "drill", stamp) for volume in chosen(source, ())}
        site.ledger.begin(DRILL, operation, source=source.label, volumes=names)
        return cls(site, source, operation, names)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> None:
        ended = self.site.clock()
        detail = _PROVEN if error is None else str(error)
        try:
            for beside in self.besides:
                beside.remove()
        finally:
            self.site.ledger.end(self.operation, "done" if error is None else "failed", None if error is None else detail)
            seconds = (ended - self._started).total_seconds()
            self.problems = record_drill(self.site, self.source.manifest.id, at=ended, ok=error is None, seconds=seconds, detail=detail)


def put_drills_in_order(site: Site) -> list[str]:
    """Removes what killed drills left behind. Returns their ids. The caller holds the stack's lock."""
    unfinished = site.ledger.operations(DRILL)
    for operation in unfinished:
        for name in operation.facts["volumes"].values():
            site.stack.remove_volume(name)
        site.ledger.end(
            operation.id, "undone", f"The run ended without a word in the step {operation.state}; put in order by the next one."
        )
    return [operation.id for operation in unfinished]
