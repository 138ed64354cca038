"""The watcher with all that it does."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from officeops.watching.watcher import Chore, Watcher

if TYPE_CHECKING:
    from officeops.site import Site


def _export(site: Site) -> None:
    from officeops.logs.storing import export_all

    export_all(site)


CHORES = (
    Chore("addresses", timedelta(0), lambda site: site.stack.note_addresses()),
    Chore("export of logs", timedelta(minutes=5), _export),
)


def watcher(site: Site) -> Watcher:
    """For `officeops watch`."""
    from officeops.remedies.due import due
    from officeops.remedies.unattended import mend

    return Watcher(site, chores=CHORES, healing=due, mend=mend)
