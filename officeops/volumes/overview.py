"""Which volumes there are, how large, and when each was backed up last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from officeops.backups.catalogue import Entry, entries

if TYPE_CHECKING:
    from officeops.site import Site


@dataclass(frozen=True)
class Kept:
    """A volume. bytes: measured now. last_backup: id and time of the newest backup that some target holds whole, None without one."""

    name: str
    services: tuple[str, ...]
    database: bool
    bytes: int | None
    last_backup: dict[str, str] | None


def overview(site: Site) -> list[Kept]:
    """All volumes of the stack, by name. Reads every folder to measure it."""
    known = entries(site)
    return [
        Kept(volume.name, volume.services, volume.database, volume.bytes, _last(known, volume.name))
        for volume in site.stack.volumes(measure=True)
    ]


def _last(known: list[Entry], volume: str) -> dict[str, str] | None:
    """known: newest first."""
    for entry in known:
        if entry.whole and volume in entry.copies[0].manifest.get("volumes", ()):
            return {"id": entry.id, "at": entry.at}
    return None
