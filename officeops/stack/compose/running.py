"""The containers of one stack: which there are, how they are, and waiting until they are well."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

from officeops.errors import OfficeOpsError
from officeops.progress import Meter
from officeops.stack import health
from officeops.stack.compose import containers, logs, names
from officeops.stack.compose.engine import COMPOSE_ONE_OFF, PROJECT, SERVICE, Engine
from officeops.stack.port import Colour, LogLine, ServiceStatus, Usage

if TYPE_CHECKING:
    from officeops.config import Config

PORTS = {"postgres": 5432, "redis": 6379, "ollama": 11434, "caddy": 80}
_LAST_WORDS = 20


class Running:
    """Under a rolled service's own name it is the one in the colour that takes requests. serving: tells that colour."""

    def __init__(self, config: Config, engine: Engine, serving: Callable[[], Colour]) -> None:
        self._config, self._engine, self._serving = config, engine, serving
        self._runbook = config.runbook
        self._before: dict[str, dict[str, Any]] = {}  # the last sample of each container

    def all(self, *, running_only: bool = False) -> dict[str, list[str]]:
        """Ids by Compose service, of each the running ones first, then the newest; without the control plane's."""
        found: dict[str, list[dict[str, Any]]] = {}
        for one in self._engine.containers({PROJECT: self._runbook.stack, COMPOSE_ONE_OFF: "False"}, running_only=running_only):
            found.setdefault(one["Labels"][SERVICE], []).append(one)
        order = {"running": 0, "restarting": 1}
        return {
            name: [one["Id"] for one in sorted(found[name], key=lambda one: (order.get(one["State"], 2), -one["Created"]))]
            for service in self._runbook.services
            for name in names.all_of(self._runbook, service)
            if name in found
        }

    def of(self, service: str, colour: Colour | None = None, *, running_only: bool = False) -> list[str]:
        """Ids of the containers of a service of the runbook."""
        return self.all(running_only=running_only).get(names.named(self._runbook, service, colour or self._serving()), [])

    def services(self) -> list[ServiceStatus]:
        """Every service of the runbook, in its order."""
        return self._statuses(list(self._runbook.services), self._serving())

    def instances(self, colour: Colour) -> list[ServiceStatus]:
        """The rolled ones in that colour."""
        return self._statuses(list(self._runbook.rolled()), colour)

    def address(self, service: str, colour: Colour | None = None) -> tuple[dict[str, Any], str]:
        """Everything about the service's running container, and its own address: nothing is published, but the engine's host, and
        containers on the same network, reach it there. Raises OfficeOpsError when there is none."""
        found = self.address_if_any(service, colour)
        if found is None:
            called = names.named(self._runbook, service, colour or self._serving())
            raise OfficeOpsError(f"{called} is not running.", state="Nothing was changed.", todo="Start it with `officeops up`.")
        return found

    def address_if_any(self, service: str, colour: Colour | None = None) -> tuple[dict[str, Any], str] | None:
        """The same; None when there is none. Raises EngineDownError when nobody knows."""
        ids = self.of(service, colour, running_only=True)
        found = self._engine.inspect(ids[0]) if ids else None
        place = containers.address(found) if found else None
        return (found, place[1]) if found is not None and place is not None else None

    def wait(self, services: Sequence[str], timeout: float) -> None:
        """Until all are healthy. Raises OfficeOpsError naming the first that cannot become so, with its last words."""
        meters = {name: Meter(name, 1, unit="") for name in services}
        deadline = time.monotonic() + timeout
        with self._engine.watching({PROJECT: self._runbook.stack}) as wait:
            while True:
                found = {one.name: one for one in self.services() if one.name in services}
                for name in [name for name in meters if found[name].health == "healthy"]:
                    meters.pop(name).finish()
                if not meters:
                    return
                late = time.monotonic() > deadline
                if hopeless := next((found[name] for name in meters if late or _is_hopeless(found[name])), None):
                    raise self.unwell(hopeless, None if _is_hopeless(hopeless) else timeout)
                wait(0.2)

    def unwell(self, service: ServiceStatus, timeout: float | None = None) -> OfficeOpsError:
        """What to tell of a service that is not as it should be (after `timeout` seconds)."""
        words = "\n".join(line.text for line in self.logs(service.name, tail=_LAST_WORDS))
        when = f" after {timeout:.0f} s" if timeout else ""
        return OfficeOpsError(
            f"{service.name} is not healthy{when}: {service.detail or service.state}.",
            state=f"Its last words:\n{words}\n",
            todo=f"See `officeops logs {service.name}`; then `officeops up` again.",
        )

    def logs(
        self,
        service: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        tail: int | None = None,
        colour: Colour | None = None,
    ) -> Iterator[LogLine]:
        """What the service's containers printed, by time."""
        return logs.merged(self._engine, service, self.of(service, colour), since=since, until=until, tail=tail)

    def place(self, service: str) -> tuple[str, int]:
        """Host and port of a server of a kind that is known. Raises OfficeOpsError when it does not run."""
        return self.address(service)[1], PORTS[self._runbook.services[service].kind]

    def usage(self) -> list[Usage]:
        """What each running service takes, with all its containers, both colours' among them."""
        running = self.all(running_only=True)
        services = [(service, name) for service in self._runbook.services for name in names.all_of(self._runbook, service)]
        asked = [(service, one) for service, name in services for one in running.get(name, [])]
        if not asked:
            return []
        with ThreadPoolExecutor(len(asked)) as pool:
            samples = list(pool.map(self._sample, [one for _, one in asked]))
        self._before = {one: sample for (_, one), sample in zip(asked, samples, strict=True)}
        found = [containers.usage(name, sample) for (name, _), sample in zip(asked, samples, strict=True)]
        return _added([one for one in found if one is not None])

    def _statuses(self, services: Sequence[str], colour: Colour) -> list[ServiceStatus]:
        if not services:
            return []
        there = self.all()
        ids = [there.get(names.named(self._runbook, name, colour)) for name in services]
        with ThreadPoolExecutor(len(services)) as pool:
            return list(pool.map(lambda name, ids: self._status(name, colour, ids), services, ids))

    def _status(self, name: str, colour: Colour, ids: Sequence[str] | None) -> ServiceStatus:
        service, found = self._runbook.services[name], self._engine.inspect(ids[0]) if ids else None
        problem = self._problem(name, found) if found else None
        return containers.status(name, found, app=service.kind == "app", problem=problem, colour=colour if service.rolled else None)

    def _problem(self, name: str, found: Mapping[str, Any]) -> str | None:
        """What asking the service itself shows; None when it cannot be asked."""
        service, place = self._runbook.services[name], containers.address(found)
        port = service.container_port or PORTS.get(service.kind)
        if place is None or port is None or found["State"]["Status"] != "running":
            return None
        return health.problem(service, place[1], port, self._config.settings)

    def _sample(self, container: str) -> dict[str, Any]:
        """A sample, in which the one before it stands where the engine puts its own. The engine takes a second for each: whoever asks again
        and again, as the watcher does, waits for one only, and is told of all the time in between."""
        with self._engine.explained():
            before = self._before.get(container) or self._engine.api.stats(container, stream=False, one_shot=True)
            found = self._engine.api.stats(container, stream=False, one_shot=True)
        return {**found, "precpu_stats": before["cpu_stats"], "preread": before["read"]}


def _is_hopeless(service: ServiceStatus) -> bool:
    """It ended, or ends again and again: waiting longer shows nothing else."""
    return service.state == "failed" or (service.state == "restarting" and service.restarts >= 3)


def _added(found: Sequence[Usage]) -> list[Usage]:
    """One for each service, however many containers it has."""
    sums: dict[str, Usage] = {}
    for one in found:
        before = sums.get(one.service, Usage(one.service, 0.0, 0))
        limit = (before.limit or 0) + one.limit if one.limit else before.limit
        sums[one.service] = Usage(one.service, before.cpu + one.cpu, before.memory + one.memory, limit)
    return list(sums.values())
