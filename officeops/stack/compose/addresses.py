"""Where the rolled services are, in files beside the gates.

Names are resolved by the engine: while it is down nobody else does, though every container runs on (`live-restore`). The front door then
goes by these files.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from officeops.stack.compose import names
from officeops.stack.compose.running import Running
from officeops.stack.port import COLOURS

if TYPE_CHECKING:
    from officeops.config import Config

_NOWHERE = "127.0.0.1"  # in the front door's container, where nothing of that kind listens: refused at once


class Addresses:
    """Of one stack. folder: the gates'."""

    def __init__(self, config: Config, folder: Path, running: Running) -> None:
        self._runbook, self._folder, self._running = config.runbook, folder, running

    def note(self) -> None:
        """Every file says what is so now. Whoever runs beside us does the same. Raises EngineDownError, with the files as they were: they are
        for just that time."""
        for colour in COLOURS:
            for service in self._runbook.rolled():
                found = self._running.address_if_any(service, colour)
                self._write(names.named(self._runbook, service, colour), found[1] if found else _NOWHERE)

    def _write(self, name: str, address: str) -> None:
        path = self._folder / f"{name}.address"
        if path.exists() and path.read_text() == address:
            return
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(address)
        temporary.chmod(0o644)
        temporary.rename(path)
