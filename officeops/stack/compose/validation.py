"""What is wrong with the files of a release, asked of the programs that will read them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from officeops.errors import OfficeOpsError
from officeops.process import run
from officeops.stack import caddy
from officeops.stack.compose import commands
from officeops.stack.compose.engine import ENGINE_FAILED, Engine, EngineDownError
from officeops.stack.compose.projects import Described, Projects
from officeops.stack.port import Release

if TYPE_CHECKING:
    from officeops.config import Config

_VALIDATE_S = 60.0


class Validation:
    """Of one stack's releases."""

    def __init__(self, config: Config, engine: Engine, projects: Projects) -> None:
        self._runbook, self._engine, self._projects = config.runbook, engine, projects

    def problems(self, release: Release, folder: Path) -> list[str]:
        """For people, none when all is well. folder: the release's files."""
        try:
            described = self._projects.described(release)
        except EngineDownError:
            raise
        except OfficeOpsError as error:
            return [error.what]
        file = folder / self._runbook.application.caddyfile
        front_door = next(name for name, service in self._runbook.services.items() if service.kind == "caddy")
        return self._caddy(described[front_door], self._projects.image(front_door, described[front_door]), file)

    def _caddy(self, described: Described, image: str, file: Path) -> list[str]:
        if not file.is_file():
            return [f"The release has no {self._runbook.application.caddyfile}."] if self._runbook.rolled() else []
        if not self._engine.has_image(image):
            return [f"The Caddyfile could not be checked: the image {image} is not on this host (`docker pull {image}`)."]
        # What Caddy keeps goes to the container's own /tmp; `config` writes dollars so that they can be read again.
        environment = {key: str(value or "").replace("$$", "$") for key, value in (described.get("environment") or {}).items()}
        environment |= dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), "/tmp")  # noqa: S108 - the container's
        container = commands.Container(
            self._runbook.stack, image, "none", f"{os.geteuid()}:{os.getegid()}", uuid4().hex,
            (commands.bind(file.parent),), ("NET_BIND_SERVICE",),  # the image's program does not start where it cannot have it
        )  # fmt: skip
        arguments = ["validate", "--adapter", "caddyfile", "--config", str(file)]
        command = self._engine.ended_with_us(container.command("caddy", arguments, environment))
        done = run(command, timeout=_VALIDATE_S, ok=range(ENGINE_FAILED))
        return caddy.complaints(done.stderr) if done.status else []
