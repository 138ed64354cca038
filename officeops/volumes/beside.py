"""A volume restored beside the live one, which is not touched: filled, read again, compared entry by entry with what was backed up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from officeops.errors import OfficeOpsError, UsageError
from officeops.postgres import tools
from officeops.progress import Meter
from officeops.restores.source import VolumeSource
from officeops.volumes.backup import base_backup_version
from officeops.volumes.compare import require_equal
from officeops.volumes.entries import entries, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from officeops.site import Site


@dataclass(frozen=True)
class VolumeCheck:
    """A volume after a restore, equal to what was backed up. bytes: of its files. owners: False when they could not be restored,
    because this account may not give files away."""

    files: int
    bytes: int
    owners: bool


class VolumeBeside:
    """One volume of a backup, restored into a new volume. Verbs in the order of a restore; each may be run again."""

    def __init__(self, site: Site, source: VolumeSource, volume: str, name: str, *, operation: str) -> None:
        self.site, self.source, self.volume, self.name, self.operation = site, source, volume, name, operation
        self._timeout = site.config.runbook.backups.timeout_minutes * 60

    def fill(self) -> None:
        """Everything of the backup, in the new volume. Raises DamagedError when what was stored is not what was backed up."""
        self.site.ledger.advance(self.operation, "fill")
        stack = self.site.stack
        stack.remove_volume(self.name)
        stack.create_volume(self.name)
        meter = Meter(f"restore {self.volume}", self.source.manifest.volumes[self.volume].bytes, every=8 << 20)
        tools.feed(stack.import_volume(self.name), _counted(self.source.tar(self.volume), meter), timeout=self._timeout)
        meter.finish()

    def compare(self) -> VolumeCheck:
        """The new volume, read again to its last byte, against the backup's list. Raises NotEqualError."""
        self.site.ledger.advance(self.operation, "compare")
        meter = Meter(f"compare {self.volume}", self.source.manifest.volumes[self.volume].bytes, every=8 << 20)
        exported = _counted(tools.output(self.site.stack.export_volume(self.name), timeout=self._timeout), meter)
        expected = listed(self.source.entries(self.volume))
        equal = require_equal(expected, entries(exported), label=self.source.label, volume=self.volume)
        meter.finish()
        return VolumeCheck(equal.files, equal.bytes, equal.owners)

    def remove(self) -> None:
        """The new volume is gone."""
        self.site.stack.remove_volume(self.name)


def _counted(chunks: Iterator[bytes], meter: Meter) -> Iterator[bytes]:
    for chunk in chunks:
        meter.add(len(chunk))
        yield chunk


def chosen(source: VolumeSource, names: Sequence[str]) -> list[str]:
    """The volumes of a backup that are wanted: those named, or all. Raises UsageError for one that it does not hold."""
    holds = source.manifest.volumes
    if missing := [name for name in names if name not in holds]:
        raise UsageError(
            f"The backup {source.label} does not hold the volume {missing[0]!r}.",
            state="Nothing was changed.",
            todo=f"It holds {', '.join(holds)}.",
        )
    return list(dict.fromkeys(names)) or list(holds)


def require_same_server(site: Site, source: VolumeSource) -> None:
    """A data directory is of one major version. Raises OfficeOpsError when the server's is another one."""
    written = source.manifest.client_version
    if source.manifest.kind != "basebackup" or written is None:
        return
    ours = base_backup_version(site)
    if _major(written) != _major(ours):
        raise OfficeOpsError(
            f"The base backup {source.label} was made with {written}; this server's is {ours}: one cannot start from the other's files.",
            state="Nothing was touched.",
            todo="Restore a backup of kind database, or install that version of the server.",
        )


def _major(version: str) -> str:
    return version.rsplit(" ", 1)[-1].split(".")[0]


def side_volume(volume: str, what: str, stamp: str) -> str:
    """A name for a volume beside `volume`: of a restore (new), of what was live before it (prev), of a drill."""
    return f"{volume}_{what}_{stamp}"
