"""The watcher with all that it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from officeops.watching.watcher import Watcher

if TYPE_CHECKING:
    from officeops.site import Site


def watcher(site: Site) -> Watcher:
    """For `officeops watch`."""
    from officeops.remedies.due import due
    from officeops.remedies.unattended import mend

    return Watcher(site, healing=due, mend=mend)
