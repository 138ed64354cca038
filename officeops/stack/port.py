"""The stack port: what backups, releases and probes ask of the place where the application runs.

These comments are the specification; `tests/stack/test_conformance.py` holds the adapters (`local`, `compose`) to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from pydantic import SecretStr

from officeops.process import Command

State = Literal["running", "starting", "stopping", "stopped", "restarting", "failed"]
Health = Literal["healthy", "unhealthy", "starting", "unknown"]


@dataclass(frozen=True)
class ServiceStatus:
    """One service now. `restarts`: times it came back by itself since it was last started on purpose.
    `release`: sha of the release an app runs, None for the others. `detail`: why, when it is not well."""

    name: str
    state: State
    health: Health
    restarts: int
    release: str | None
    started_at: datetime | None
    detail: str = ""


@dataclass(frozen=True)
class Release:
    """A built release. `sha`: full git commit."""

    sha: str
    built_at: datetime


@dataclass(frozen=True)
class Deployed:
    """The release that runs, or ran last. `at`: when it took over from another one."""

    sha: str
    at: datetime


@dataclass(frozen=True)
class DatabaseAddress:
    """How this process reaches the database server."""

    host: str
    port: int
    user: str
    password: SecretStr
    database: str


@dataclass(frozen=True)
class LogLine:
    """A line that a service printed."""

    service: str
    at: datetime
    text: str


@dataclass(frozen=True)
class Usage:
    """What a service takes now. cpu: cores (1.0 = one core busy). memory: bytes resident."""

    service: str
    cpu: float
    memory: int


class Stack(Protocol):
    """Services are named as in runbook.yaml; an unknown name raises UsageError. Control-plane services (Prefect) are never among them.

    Verbs are idempotent: starting what runs and stopping what is stopped are no errors.
    """

    @property
    def name(self) -> str: ...

    def build(self, ref: str = "HEAD") -> Release:
        """Makes a release of git `ref` of the application's repository, or reuses the one that exists. Nothing that runs is touched."""
        ...

    def up(self, release: Release) -> None:
        """Everything running and healthy on `release`, in order of dependency, schema migrated. Waits; reports progress; raises
        OfficeOpsError naming the service, its last log lines and the remedy (a port taken: the port and who holds it)."""
        ...

    def down(self) -> None:
        """Every service stopped, data kept. Returns when no process is left."""
        ...

    def migrate(self, release: Release) -> None:
        """Brings the schema to the release's revision."""
        ...

    def seed(self, release: Release) -> str:
        """Fills the database with the release's demonstration data. Returns what its program printed."""
        ...

    def uncommitted(self) -> int:
        """How many files of the application's working tree are in no commit, and so in no release."""
        ...

    def services(self) -> list[ServiceStatus]:
        """All services of the runbook, in its order, with health asked now, concurrently, in at most 3 s."""
        ...

    def start(self, service: str, *, timeout: float = 60) -> None:
        """Running and healthy when this returns."""
        ...

    def stop(self, service: str) -> None:
        """Asked to stop, given its grace, then ended. Stays stopped until started."""
        ...

    def restart(self, service: str, *, timeout: float = 60) -> None: ...

    def logs(self, service: str, *, since: datetime | None = None, tail: int | None = None) -> Iterator[LogLine]:
        """Oldest first, rotated files included, up to now."""
        ...

    def usage(self) -> list[Usage]:
        """CPU and memory of each running service, with all its processes."""
        ...

    def database(self, name: str | None = None) -> DatabaseAddress:
        """Where the application's database (or another of that server) is reached from this process."""
        ...

    def deployed(self) -> Deployed | None:
        """The release that runs or ran last, None before the first."""
        ...

    def tool(self, argv: Sequence[str], *, files: Sequence[Path] = (), options: Mapping[str, str] | None = None) -> Command:
        """A command that runs a PostgreSQL client program (pg_dump, pg_restore, pg_dumpall, psql ...) of the server's own major version,
        connected by PG* variables to the server (give the database with `-d`). `files`: paths on this host that it must be able to read.
        `options`: server settings of its sessions (PGOPTIONS)."""
        ...
