"""Releases beside each other: the rolled services of one colour started, found, asked and taken away, and the front door's count."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from officeops.errors import OfficeOpsError, TransientError, UsageError
from officeops.process import Command
from officeops.stack import caddy
from officeops.stack.compose import commands, names
from officeops.stack.compose.engine import COMPOSE_ONE_OFF, PROJECT, SERVICE, Engine
from officeops.stack.compose.images import Images
from officeops.stack.compose.projects import Projects
from officeops.stack.compose.running import PORTS, Running
from officeops.stack.port import Colour, Release

if TYPE_CHECKING:
    from officeops.config import Config

_LAUNCH_S = 300.0
_LABEL = "officeops.front-door"  # on Caddy's container: the port at which it always answers by plain HTTP
_UPSTREAMS = "http://127.0.0.1:2019/reverse_proxy/upstreams"  # Caddy's admin API is on the container's own loopback


class Rolling:
    """Of one stack."""

    def __init__(self, config: Config, engine: Engine, projects: Projects, images: Images, running: Running) -> None:
        self._runbook, self._engine = config.runbook, engine
        self._projects, self._images, self._running = projects, images, running

    def launch(self, release: Release, colour: Colour) -> None:
        """Starts a release in a colour, where nothing of an earlier one is left."""
        self._images.ids(release)  # what is missing, or a file that is wrong, is told before anything ends
        if not self._running.all(running_only=True):
            raise OfficeOpsError("The stack is not running.", state="Nothing was started.", todo="Start it with `officeops up`.")
        self.retire(colour)
        if command := self._launching(release, colour):
            self._engine.run(command, timeout=_LAUNCH_S)

    def launch_commands(self, release: Release, colour: Colour) -> list[str]:
        """What `launch` has run."""
        command = self._launching(release, colour)
        return [shlex.join(command.argv)] if command else []

    def retire_commands(self, colour: Colour) -> list[str]:
        """The same in Docker's words."""
        found = [name for one in self._in(names.in_colour(self._runbook, colour)) for name in one["Names"][:1]]
        together = shlex.join([name.removeprefix("/") for name in found])
        return [f"docker stop --time {self._grace()} {together}", f"docker rm {together}"] if found else []

    def _launching(self, release: Release, colour: Colour) -> Command | None:
        started = names.in_colour(self._runbook, colour)
        return self._projects.of(release.sha, release.settings).command(*commands.launch(started)) if started else None

    def retire(self, colour: Colour, *, last: Callable[[], object] | None = None) -> None:
        """Ends and removes what runs in a colour. last: called in between."""
        self._end(names.in_colour(self._runbook, colour), last)

    def forget_undivided(self, release: Release) -> None:
        """Of a service that became a rolled one, the container of the time before is gone."""
        described = self._projects.described(release)
        before = [name for name in self._runbook.rolled() if name not in described]
        self._end(before)

    def endpoint(self, service: str, colour: Colour | None) -> str:
        """Where an instance is asked directly."""
        described = self._runbook.services[service]
        port = described.container_port or PORTS.get(described.kind)
        if port is None:
            raise UsageError(f"Nobody knows at which port {service} listens.", todo="Give it a `container_port` in runbook.yaml.")
        if colour and not self._running.of(service, colour, running_only=True):
            raise OfficeOpsError(f"{service} does not run in {colour}.")
        _, address = self._running.address(service, colour)
        return f"http://{address}:{port}"

    def front_door(self) -> str:
        """Caddy's container itself: what is published on the host's loopback cannot be reached from a container such as the worker's."""
        found, address = self._running.address(self.caddy)
        return f"http://{address}:{(found['Config'].get('Labels') or {}).get(_LABEL, PORTS['caddy'])}"

    def in_flight(self, colour: Colour) -> int:
        """By Caddy's count of each upstream."""
        addresses = {
            f"{names.named(self._runbook, service, colour)}:{self._runbook.services[service].container_port}"
            for service in self._runbook.rolled()
        }
        return self._asked(addresses)

    @property
    def caddy(self) -> str:
        """The service that is the front door."""
        return next(name for name, service in self._runbook.services.items() if service.kind == "caddy")

    def _asked(self, addresses: set[str]) -> int:
        ids = self._running.of(self.caddy, running_only=True)
        try:
            if not ids:
                raise OfficeOpsError("it is not running")
            said = self._engine.inside(ids[0], ["timeout", "5", "wget", "-q", "-O", "-", _UPSTREAMS])
            return caddy.in_flight(said, addresses)
        except (OfficeOpsError, ValueError, KeyError, TypeError) as error:
            raise TransientError(
                f"Caddy does not say which requests are on their way: {error}",
                state="Nothing was changed.",
                todo=f"See `officeops logs {self.caddy}`; its admin API is at {_UPSTREAMS} in the container, for which wget is needed there.",
            ) from error

    def _end(self, services: Sequence[str], last: Callable[[], object] | None = None) -> None:
        found = [one["Id"] for one in self._in(services)]
        self._engine.stop(found, self._grace())
        if last:
            last()
        for container in found:
            self._engine.remove(container)

    def _in(self, services: Sequence[str]) -> list[dict[str, Any]]:
        labels = {PROJECT: self._runbook.stack, COMPOSE_ONE_OFF: "False"}
        return [one for one in self._engine.containers(labels) if one["Labels"][SERVICE] in services]

    def _grace(self) -> int:
        return max((math.ceil(self._runbook.services[name].stop_grace) for name in self._runbook.rolled()), default=0)
