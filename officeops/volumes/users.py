"""Services that stand still for a while. Which ones is journalled before the first stop, so that whoever comes after a kill starts them again."""

from __future__ import annotations

from collections.abc import Collection
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from officeops.errors import OfficeOpsError

if TYPE_CHECKING:
    from officeops.site import Site

STOPPED = "stopped"  # the fact of an operation that names services to start again
_SERVICE_S, _SERVER_S = 60.0, 300.0
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


def start_users(site: Site, operation: str) -> None:
    """What the operation stopped runs again and is healthy. Raises OfficeOpsError when one is not; all were started but those that depend
    on it, which could not become healthy either."""
    stopped = set(_stopped(site, operation))
    down: set[str] = set()
    failures: list[OfficeOpsError] = []
    for name in [name for name in _in_order(site) if name in stopped]:
        try:
            if not down & set(site.config.runbook.services[name].depends_on):
                start(site, name)
                continue
        except OfficeOpsError as error:
            failures.append(error)
        down.add(name)
    if failures:
        raise failures[0]
    if stopped:
        site.ledger.advance(operation, "services started", **{STOPPED: []})


def start(site: Site, service: str) -> None:
    """Running and healthy. The database's server gets more time: it may have a log to replay."""
    site.stack.start(service, timeout=_SERVER_S if service == site.config.runbook.database.service else _SERVICE_S)


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
