"""Which restore was the last one: of the database or of volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from officeops.errors import UsageError
from officeops.ledger import Operation
from officeops.restores.restore import Undo, previous_database
from officeops.volumes.restore import VolumeUndo, last_restore

if TYPE_CHECKING:
    from officeops.site import Site


@dataclass(frozen=True)
class Undoable:
    """What an undo would do. restore: the operation that it undoes. previous: by live name, what would become live again."""

    restore: str
    previous: Mapping[str, str]


def undoable(site: Site) -> Undoable:
    """What `undo_of_last` would undo, without beginning it. Raises UsageError when there is nothing."""
    volumes, databases = last_restore(site), _restores_of_databases(site)
    if volumes is not None and not any(one.started_at > volumes.started_at and _is_there(site, one) for one in databases):
        return Undoable(volumes.id, volumes.facts["previous"])
    previous = previous_database(site)
    newest = next((one for one in databases if one.facts["previous"] == previous), None)
    if newest is None:
        raise UsageError(
            "There is no restore to undo: nothing that one set aside is left.",
            state="Nothing was changed.",
            todo="`officeops backups` lists what can be restored instead.",
        )
    return Undoable(newest.id, {site.stack.database().database: str(previous)})


def undo_of_last(site: Site) -> Undo | VolumeUndo:
    """Begins the undoing of the newest restore whose previous data are still there. The caller holds the stack's lock. Raises UsageError
    when there is none."""
    volumes, databases = last_restore(site), _restores_of_databases(site)
    if volumes is not None and not any(one.started_at > volumes.started_at and _is_there(site, one) for one in databases):
        return VolumeUndo.begin(site)
    return Undo.begin(site)


def _restores_of_databases(site: Site) -> list[Operation]:
    return [one for one in site.ledger.operations("restore", outcome="done") if one.facts.get("previous")]


def _is_there(site: Site, operation: Operation) -> bool:
    """Asks the server, which may be what the volumes are to be undone for: only when a restore of the database was later."""
    return previous_database(site) == str(operation.facts["previous"])
