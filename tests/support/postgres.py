"""A real PostgreSQL server for tests: started once for a session, without the disk's guarantees."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import SecretStr

from officeops.process import Command, started
from officeops.stack.local.postgres import PostgresServer, answers
from officeops.stack.port import DatabaseAddress
from tests.support.paths import open_folder
from tests.support.ports import eventually, free_ports

PASSWORD = "tést pässwörd 'with\" odd % characters"

_HASTY = (
    "shared_buffers=64MB",
    "fsync=off",
    "full_page_writes=off",
    "max_connections=60",
    "max_wal_size=512MB",
    "max_locks_per_transaction=256",
)


@dataclass
class Running:
    """A running server. `address(database)` is where it is."""

    server: PostgresServer
    pid: int = 0
    folder: Path = field(default_factory=Path)

    def address(self, database: str = "postgres") -> DatabaseAddress:
        return DatabaseAddress("127.0.0.1", self.server.port, self.server.superuser, self.server.password, database)

    def stop_at_once(self) -> None:
        """As a power cut would, for whoever is connected."""
        os.kill(self.pid, signal.SIGQUIT)


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[Running]:
    """A server of its own, stopped and removed after the block. durable: with the settings of the embedded stack, for measuring."""
    with open_folder("officeops-pg-") as folder:
        server = PostgresServer("postgres", folder / "postgres", free_ports(1)[0], "office", SecretStr(PASSWORD))
        if not durable:
            server = replace(server, settings=_HASTY)
        server.initialise()
        program = server.program()
        log = folder / "log"
        with log.open("wb") as out:
            command = Command(program.argv, dict(program.environment), cwd=program.cwd, user=program.user)
            with started(command, timeout=3600, stdout=out) as child:
                eventually(lambda: not answers(server.port, "office", "postgres"), what="PostgreSQL's start")
                yield Running(server, child.pid, folder)
