"""PostgreSQL's client programs, of the very image that the server runs from, so that the versions are the same."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic import SecretStr

from officeops.errors import OfficeOpsError
from officeops.postgres import tools
from officeops.process import Command
from officeops.stack.compose import commands, containers, execute
from officeops.stack.compose.commands import TOOL
from officeops.stack.compose.engine import Engine
from officeops.stack.compose.running import PORTS, Running
from officeops.stack.port import DatabaseAddress

if TYPE_CHECKING:
    from officeops.config import Config


class Clients:
    """Of one stack's database."""

    def __init__(self, config: Config, engine: Engine, running: Running) -> None:
        self._stack, self._settings, self._service = config.runbook.stack, config.settings, config.runbook.database.service
        self._engine, self._running = engine, running

    def address(self, name: str | None) -> DatabaseAddress:
        """Where a database of the server is reached: by its service's name when it does not run."""
        ids = self._running.of(self._service, running_only=True)
        found = self._engine.inspect(ids[0]) if ids else None
        place = containers.address(found) if found else None
        # Nothing is published: the engine's host, and containers on the same network, reach a container by its own address.
        host, settings = place[1] if place else self._service, self._settings
        return DatabaseAddress(host, PORTS["postgres"], settings.postgres_user, settings.postgres_password, name or settings.postgres_db)

    def base_backup(self) -> Command:
        """pg_basebackup's command."""
        found = self._container()
        # The official image lets replication in from the server's own address only: we share its network, not its file system.
        return self._beside(found, tools.pg_basebackup(), f"container:{found['Id']}", "127.0.0.1")

    def command(self, argv: Sequence[str], files: Sequence[Path], options: Mapping[str, str] | None, *, terminal: bool) -> Command:
        """Any other's."""
        found = self._container()
        place = containers.address(found)
        kind = commands.TERMINAL if terminal else TOOL
        if place is None or not self._engine.has_image(found["Image"]):
            return self._inside(found, argv, files, options, kind)
        return self._beside(found, argv, place[0], self._service, files=files, options=options, kind=kind)

    def _container(self) -> dict[str, Any]:
        ids = self._running.of(self._service, running_only=True)
        found = self._engine.inspect(ids[0]) if ids else None
        if found is None:
            raise OfficeOpsError(f"{self._service} is not running.", state="Nothing was changed.", todo="Start it with `officeops up`.")
        return found

    def _beside(
        self, database: Mapping[str, Any], argv: Sequence[str], network: str, host: str, *,
        files: Sequence[Path] = (), options: Mapping[str, str] | None = None, kind: str = TOOL,
    ) -> Command:  # fmt: skip
        """In a container of its own."""
        user = f"{os.geteuid()}:{os.getegid()}"  # who may read `files`
        container = commands.Container(
            self._stack, database["Image"], network, user, uuid4().hex, tuple(commands.bind(file) for file in files), kind=kind
        )
        return self._engine.ended_with_us(container.command(argv[0], argv[1:], self._environment(host, options)))

    def _inside(
        self, database: Mapping[str, Any], argv: Sequence[str], files: Sequence[Path], options: Mapping[str, str] | None, kind: str
    ) -> Command:
        """In the server's own container, when no other can be made of its image or join its network."""
        if files:
            raise OfficeOpsError(
                f"{argv[0]} cannot read {files[0]}: the database's image is gone or its container has no network of its own.",
                state="Nothing was changed.",
                todo="Fetch the image again (`docker compose pull`), then the same command again.",
            )
        return self._engine.asked(execute.command(database["Id"], argv, self._environment("127.0.0.1", options), kind=kind))

    def _environment(self, host: str, options: Mapping[str, str] | None) -> dict[str, str | SecretStr]:
        settings = self._settings
        return {
            "PGHOST": host, "PGPORT": str(PORTS["postgres"]), "PGUSER": settings.postgres_user, "PGPASSWORD": settings.postgres_password,
            "PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "officeops", "PGOPTIONS": " ".join(f"-c {key}={value}" for key, value in (options or {}).items()),
        }  # fmt: skip
