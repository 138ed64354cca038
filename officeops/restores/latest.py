"""Which restore was the last one: of the database or of volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from officeops.ledger import Operation
from officeops.restores.restore import Undo, previous_database
from officeops.volumes.restore import VolumeUndo, last_restore

if TYPE_CHECKING:
    from officeops.site import Site


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
