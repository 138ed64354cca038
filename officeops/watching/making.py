"""The watcher with all that it does."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from officeops.watching.watcher import Chore, Watcher

if TYPE_CHECKING:
    from officeops.site import Site

CHORES = (Chore("addresses", timedelta(0), lambda site: site.stack.note_addresses()),)


def watcher(site: Site) -> Watcher:
    """For `officeops watch`."""
    from officeops.remedies.due import due
    from officeops.remedies.unattended import mend

    return Watcher(site, chores=CHORES, healing=due, mend=mend)
