"""Which logs the containers of one stack have, and how the engine keeps them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from officeops.stack.compose import names
from officeops.stack.compose.engine import COMPOSE_ONE_OFF, PROJECT, SERVICE, Engine
from officeops.stack.compose.projects import Projects
from officeops.stack.port import COLOURS, Colour, LogLimits, LogOptions, LogSource

if TYPE_CHECKING:
    from officeops.config import Config

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)i?b?", re.IGNORECASE)
_UNITS = " kmgtp"
# What the engine's drivers do where nobody says otherwise.
_DEFAULTS: dict[str, tuple[int | None, int | None]] = {"json-file": (None, 1), "local": (20 << 20, 5)}


class Logs:
    """Those of one stack."""

    def __init__(self, config: Config, engine: Engine, projects: Projects) -> None:
        self._runbook, self._engine, self._projects = config.runbook, engine, projects

    def sources(self) -> list[LogSource]:
        """One for each container."""
        return [
            LogSource(one["Id"], service, one["State"] not in ("exited", "dead", "created"), colour)
            for one, service, colour in self._containers(running_only=False)
        ]

    def options(self) -> list[LogOptions]:
        """Of each container that runs."""
        found = []
        for one, service, _ in self._containers(running_only=True):
            if inspected := self._engine.inspect(one["Id"]):
                name, now = str(one["Names"][0]).lstrip("/"), inspected["HostConfig"]["LogConfig"]
                found.append(LogOptions(service, name, limits(now["Type"], now["Config"]), self._anew(one["Labels"][SERVICE])))
        return found

    def _anew(self, compose_service: str) -> LogLimits:
        logging = self._projects.described(self._projects.running()).get(compose_service, {}).get("logging") or {}
        driver = logging.get("driver")
        if driver is None:
            with self._engine.explained():
                driver = str(self._engine.api.info()["LoggingDriver"])
        return limits(driver, logging.get("options"))

    def _containers(self, *, running_only: bool) -> list[tuple[dict[str, Any], str, Colour | None]]:
        """With the runbook's service, and the colour of a rolled one."""
        known: dict[str, tuple[str, Colour | None]] = {}
        for service, described in self._runbook.services.items():
            for colour in COLOURS:
                known[names.named(self._runbook, service, colour)] = service, colour if described.rolled else None
        found = self._engine.containers({PROJECT: self._runbook.stack, COMPOSE_ONE_OFF: "False"}, running_only=running_only)
        return [(one, *known[name]) for one in found if (name := one["Labels"][SERVICE]) in known]


def limits(driver: str, options: Mapping[str, Any] | None) -> LogLimits:
    """As the engine understands a driver's options."""
    given, (size, files) = options or {}, _DEFAULTS.get(driver, (None, None))
    if found := _SIZE.fullmatch(str(given.get("max-size", "")).strip()):
        size = int(float(found[1]) * 1024 ** _UNITS.index(found[2].lower() or " "))
    if str(given.get("max-file", "")).isdigit():
        files = int(given["max-file"])
    return LogLimits(driver, size, files)
