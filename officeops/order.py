"""What killed runs left in the middle, put in order: by every flow and by `up`, as soon as they hold the stack's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from officeops.backups.objects import put_away_unfinished
from officeops.errors import OfficeOpsError
from officeops.releases.rollout import reconcile
from officeops.restores.restore import put_in_order as put_databases_in_order
from officeops.upkeep import clean_up, models, rebuild
from officeops.volumes.drill import put_drills_in_order
from officeops.volumes.restore import put_volumes_in_order
from officeops.volumes.users import start_stopped

if TYPE_CHECKING:
    from officeops.site import Site

# Services first: they are what people miss.
_PARTS: tuple[Callable[[Site], object], ...] = (
    reconcile, start_stopped, put_volumes_in_order, put_drills_in_order, put_away_unfinished, put_databases_in_order,
    rebuild.put_in_order, models.put_in_order, clean_up.put_in_order,
)  # fmt: skip


def put_in_order(site: Site) -> list[str]:
    """Ends every operation that never ended. The caller holds the stack's lock, so that none of them is running.

    Returns what could not be put in order now, for people. It stays in the journal for the next command: one thing that cannot be mended,
    such as a database that is down, must not keep people from mending another.
    """
    site.stack.require_ours()
    site.stack.sweep()
    troubles = []
    for part in _PARTS:
        try:
            part(site)
        except OfficeOpsError as error:
            troubles.append(str(error))
    return troubles
