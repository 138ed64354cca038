"""The front door's configuration: a copy of a release's Caddyfile in OFFICEOPS_HOME/proxy, mounted into Caddy's container.

Not the working tree's, which anybody may be changing when Caddy is started again; and not the release's own, which may be removed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from officeops import files
from officeops.errors import OfficeOpsError
from officeops.stack.compose.engine import Engine
from officeops.stack.compose.rolling import Rolling
from officeops.stack.compose.running import Running

if TYPE_CHECKING:
    from officeops.config import Config

_INSIDE = "/etc/caddy"
_NEXT = "Caddyfile.next"


class Proxy:
    """Of one stack. folder: where the copy is."""

    def __init__(self, config: Config, engine: Engine, running: Running, rolling: Rolling) -> None:
        self.folder = config.settings.officeops_home / "proxy"
        self._file = self.folder / "Caddyfile"
        self._engine, self._running, self._rolling = engine, running, rolling

    def digest(self) -> str | None:
        """sha256 of the copy, None before there is one."""
        return hashlib.sha256(self._file.read_bytes()).hexdigest() if self._file.exists() else None

    def place(self, wanted: Path) -> None:
        """The copy is that file; a Caddy that runs takes it over. An application without a Caddyfile brings its own in some other way."""
        if not wanted.is_file() or (self._file.exists() and self._file.read_bytes() == wanted.read_bytes()):
            return
        if self._file.exists() and self._running.of(self._rolling.caddy, running_only=True):
            self.reload(wanted)
        else:
            files.replace(self._file, wanted.read_bytes())

    def reload(self, wanted: Path) -> None:
        """A Caddy that runs takes that file over; refused, it goes on with what it has, and so does the copy."""
        ids = self._running.of(self._rolling.caddy, running_only=True)
        if not ids:
            raise OfficeOpsError(f"{self._rolling.caddy} does not run.", state="Nothing was changed.", todo="Start it with `officeops up`.")
        files.replace(self.folder / _NEXT, wanted.read_bytes())
        self._engine.inside(ids[0], ["caddy", "reload", "--config", f"{_INSIDE}/{_NEXT}", "--adapter", "caddyfile"])
        files.replace(self._file, wanted.read_bytes())
