"""The watcher with all that it does."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from officeops.watching.watcher import Chore, Watcher

if TYPE_CHECKING:
    from officeops.site import Site

_EXPORT_EVERY = timedelta(minutes=5)


def watcher(site: Site) -> Watcher:
    """For `officeops watch`."""
    from officeops.logs.storing import export_all
    from officeops.remedies.due import due
    from officeops.remedies.unattended import mend

    return Watcher(site, chores=[Chore("export of logs", _EXPORT_EVERY, export_all)], healing=due, mend=mend)
