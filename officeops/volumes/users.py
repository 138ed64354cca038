"""Services that stand still for a while. Which ones is journalled before the first stop, so that whoever comes after a kill starts them again."""

from __future__ import annotations

from collections.abc import Collection
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from officeops.site import Site

STOPPED = "stopped"  # the fact of an operation that names services to start again
RUN = ("running", "starting", "restarting")


def stop_users(site: Site, operation: str, services: Collection[str], *, states: Collection[str] = RUN) -> tuple[str, ...]:
    """Stops those of `services` that are in one of `states`; what is stopped already stays so, also afterwards. Returns what was stopped."""
    running = {one.name for one in site.stack.services() if one.name in services and one.state in states}
    stopped = _stopped(site, operation)
    order = [name for name in _in_order(site) if name in running]
    site.ledger.advance(operation, "stop the services", **{STOPPED: [*stopped, *(name for name in order if name not in stopped)]})
    for name in reversed(order):
        site.stack.stop(name)
    return tuple(order)


def start_users(site: Site, operation: str, *, timeout: float = 60) -> None:
    """What the operation stopped runs again and is healthy. Raises OfficeOpsError when one is not; the others were started."""
    stopped = set(_stopped(site, operation))
    failed: list[Exception] = []
    for name in [name for name in _in_order(site) if name in stopped]:
        try:
            site.stack.start(name, timeout=timeout)
        except Exception as error:  # noqa: BLE001 - the others must not stay down for it; raised below
            failed.append(error)
    if failed:
        raise failed[0]
    if stopped:
        site.ledger.advance(operation, "services started", **{STOPPED: []})


def start_stopped(site: Site) -> None:
    """Starts what killed backups stopped. Raises OfficeOpsError when a service does not become healthy."""
    for operation in site.ledger.operations("backup"):
        start_users(site, operation.id)


def _stopped(site: Site, operation: str) -> list[str]:
    known = site.ledger.operation(operation)
    return list(known.facts.get(STOPPED, ())) if known else []


def _in_order(site: Site) -> list[str]:
    """Services, each behind what it depends on."""
    services = site.config.runbook.services
    return list(TopologicalSorter({name: service.depends_on for name, service in services.items()}).static_order())
