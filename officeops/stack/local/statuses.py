"""How a service is: what supervisor says of its program, and what it says itself when it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from officeops.config import Config
from officeops.stack import health
from officeops.stack.local import programs
from officeops.stack.local.supervisor import ProgramStatus
from officeops.stack.port import Colour, Health, ServiceStatus, State

AT_REST = ("STOPPED", "EXITED", "FATAL")  # no process, and none will come by itself
_STATES: dict[str, State] = {
    "RUNNING": "running", "STARTING": "starting", "STOPPING": "stopping", "STOPPED": "stopped",
    "BACKOFF": "restarting", "EXITED": "failed", "FATAL": "failed", "UNKNOWN": "failed",
}  # fmt: skip


def problem(config: Config, name: str, colour: Colour | None) -> str:
    """Asks the service itself: empty when it is well, else why not."""
    service, settings = config.runbook.services[name], config.settings
    return health.problem(service, "127.0.0.1", programs.port_of(config, service, colour), settings, admin_port=settings.caddy_admin_port)


def statuses(config: Config, asked: Sequence[tuple[str, Colour | None]], known: Sequence[ProgramStatus]) -> list[ServiceStatus]:
    """Of these services in these colours, asked concurrently. known: what supervisor says."""
    if not asked:
        return []
    by_name = {status.name: status for status in known}

    def one(service: tuple[str, Colour | None]) -> ServiceStatus:
        return _status(config, *service, by_name.get(programs.name_of(*service)))

    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(one, asked))


def _status(config: Config, name: str, colour: Colour | None, program: ProgramStatus | None) -> ServiceStatus:
    if program is None:
        return ServiceStatus(name, "stopped", "unknown", 0, None, None, colour=colour)
    state = _STATES[program.state]
    asked = state in ("running", "starting")
    why = problem(config, name, colour) if asked else ""
    well: Health = "unknown" if not asked else "unhealthy" if why else "healthy"
    return ServiceStatus(name, state, well, program.restarts, program.release or None, program.started_at, why or program.detail, colour)
