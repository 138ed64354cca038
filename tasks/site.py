"""The site that a run works on, locked for as long as it changes anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging import get_run_logger

from officeops.lock import lock_holder
from officeops.order import put_in_order
from officeops.progress import shown_by
from officeops.site import Site, open_site
from tasks.reporting import ProgressArtifacts


@contextmanager
def at_work(doing: str, *, wait_minutes: float) -> Iterator[Site]:
    """The site of this process's folder with its lock held and what killed runs left put in order; long steps show their progress in the UI.

    Waits up to `wait_minutes` for whoever holds the lock, saying who that is. Raises LockedError after that.
    """
    site = open_site()
    holder = lock_holder(site.home, site.name)
    if holder:
        get_run_logger().warning("Waiting for %s (process %s), doing: %s, since %s", holder.who, holder.pid, holder.doing, holder.since)
    with site.locked(doing, wait_s=wait_minutes * 60), shown_by(ProgressArtifacts()):
        for trouble in put_in_order(site):
            get_run_logger().warning("What an earlier run left could not be put in order: %s", trouble)
        yield site
