"""The site that a run works on, locked for as long as it changes anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from officeops.clock import iso, utc_now
from officeops.lock import lock_holder
from officeops.order import put_in_order
from officeops.progress import shown_by
from officeops.releases.rollout import KIND
from officeops.site import Site, open_site
from tasks.reporting import ProgressArtifacts
from tasks.runs import cancel_needless, limited, mark_dead, seen_to_live

_LATE = timedelta(minutes=5)


@contextmanager
def at_work(doing: str, *, wait_minutes: float, looks_only: bool = False) -> Iterator[Site]:
    """The site of this process's folder with its lock held and what killed runs left put in order; long steps show their progress in the UI.
    looks_only: a dry run, which puts nothing in order and says what is not.

    Waits up to `wait_minutes` for whoever holds the lock, saying who that is. Raises LockedError after that, and TookTooLongError when the
    block takes longer than the runbook allows.
    """
    site = open_site()
    _say_when_late()
    cancel_needless()
    holder = lock_holder(site.home, site.name)
    if holder:
        get_run_logger().warning("Waiting for %s (process %s), doing: %s, since %s", holder.who, holder.pid, holder.doing, holder.since)
    with (
        seen_to_live(site),
        site.locked(doing, wait_s=wait_minutes * 60),
        limited(site.config.runbook.runs.max_hours),
        shown_by(ProgressArtifacts()),
    ):
        mark_dead(site)
        if looks_only:
            for left in site.ledger.operations(KIND):
                get_run_logger().warning(
                    "An earlier run left %s at: %s. The next one that is no dry run puts it in order", left.id, left.state
                )
        else:
            for trouble in put_in_order(site):
                get_run_logger().warning("What an earlier run left could not be put in order: %s", trouble)
        yield site


def _say_when_late() -> None:
    """A run that was due while the server or the worker was away starts all the same, and says so."""
    if flow_run.scheduled_start_time is None:
        return
    due = datetime.fromtimestamp(flow_run.scheduled_start_time.timestamp(), UTC)  # what it is given as reckons otherwise
    late = utc_now() - due
    if late > _LATE:
        hours, minutes = divmod(late // timedelta(minutes=1), 60)
        get_run_logger().warning("This run was due at %s and starts %d h %02d min late.", iso(due), hours, minutes)
