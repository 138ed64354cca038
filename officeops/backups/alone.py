"""A whole backup of the database for callers that have no Prefect: the verbs one after the other, where the flow does what it can at once."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from officeops.backups.backup import Backup, Form, Report
from officeops.errors import OfficeOpsError

if TYPE_CHECKING:
    from officeops.backups.manifest import DatabaseManifest
    from officeops.site import Site


def back_up(site: Site, form: Form = "dump") -> Report[DatabaseManifest]:
    """Into every target, read back. The caller holds the stack's lock. Raises what `Making.report` does when a target has no verified one."""
    with Backup.begin(site, form=form) as backup:
        backup.snapshot()
        for branch in (backup.dump, backup.dump_globals, backup.fingerprint):
            with suppress(OfficeOpsError):  # as in the flow: the report says what failed
                branch()
        for target in backup.complete_targets():
            with suppress(OfficeOpsError):
                backup.verify(target)
                backup.publish(target)
        return backup.report()
