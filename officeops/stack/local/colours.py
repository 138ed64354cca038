"""The rolled services of the embedded stack in their two colours. See officeops/stack/port.py for what each verb promises."""

from __future__ import annotations

import http.client
import shlex

from officeops.config import Config
from officeops.errors import OfficeOpsError, TransientError, UsageError
from officeops.stack import caddy
from officeops.stack.local import ports, programs
from officeops.stack.local.releases import Releases
from officeops.stack.local.statuses import AT_REST, statuses
from officeops.stack.local.supervisor import Program, Supervisor
from officeops.stack.port import Colour, Release, ServiceStatus

_ASK_S = 3.0


class Colours:
    """Those of one configuration."""

    def __init__(self, config: Config, supervisor: Supervisor, releases: Releases) -> None:
        self._config, self._supervisor, self._releases = config, supervisor, releases
        self._rolled = config.runbook.rolled()

    def launch(self, release: Release, colour: Colour) -> None:
        self._releases.artifact(release)
        if not self._supervisor.running:
            raise OfficeOpsError("The stack is not running.", state="Nothing was started.", todo="Start it with `officeops up`.")
        self.retire(colour)
        for name in self._rolled:
            service = self._config.runbook.services[name]
            ports.require_free(programs.port_of(self._config, service, colour), programs.port_key(service, colour), name)
        described = self._described(release, colour)
        for program in described:
            self._supervisor.put(program)
        for program in described:
            self._supervisor.begin(program.name)

    def retire(self, colour: Colour) -> None:
        self._supervisor.remove([programs.name_of(name, colour) for name in self._rolled])

    def launch_commands(self, release: Release, colour: Colour) -> list[str]:
        return [f"cd {shlex.quote(str(one.cwd))} && {shlex.join(one.argv)}" for one in self._described(release, colour)]

    def retire_commands(self, colour: Colour) -> list[str]:
        known = {programs.name_of(name, colour) for name in self._rolled}
        running = [one.name for one in self._supervisor.status() if one.name in known and one.state not in AT_REST]
        return [shlex.join(["supervisorctl", "-s", self._supervisor.url, "stop", *running])] if running else []

    def _described(self, release: Release, colour: Colour) -> list[Program]:
        places = self._releases.places(release)
        return [programs.program(self._config, name, places, colour) for name in self._rolled]

    def instances(self, colour: Colour) -> list[ServiceStatus]:
        return statuses(self._config, [(name, colour) for name in self._rolled], self._supervisor.status())

    def endpoint(self, service: str, colour: Colour) -> str:
        if service not in self._rolled:
            raise UsageError(f"There is no rolled service {service!r}.", todo=f"The runbook has {', '.join(self._rolled) or 'none'}.")
        name = programs.name_of(service, colour)
        if not any(status.name == name and status.state not in AT_REST for status in self._supervisor.status()):
            raise OfficeOpsError(f"{service} does not run in {colour}.")
        return f"http://{programs.upstreams(self._config, colour)[service]}"

    def in_flight(self, colour: Colour) -> int:
        return caddy.in_flight(self._ask_caddy("/reverse_proxy/upstreams"), programs.upstreams(self._config, colour).values())

    def _ask_caddy(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._config.settings.caddy_admin_port, timeout=_ASK_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(f"Caddy does not answer at {path}: {error}.", todo="See `officeops logs caddy`.") from error
        finally:
            connection.close()
