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


@dataclass(frozen=True)
class Volume:
    """A named volume of this stack, or a folder that takes its place. services: of the runbook, those that use it. database: the data
    directory of the database server is in it. bytes: None unless it was measured."""

    name: str
    services: tuple[str, ...]
    database: bool
    bytes: int | None = None


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

    def exec(self, service: str, argv: Sequence[str], *, environment: Mapping[str, str | SecretStr] | None = None) -> Command:
        """A program to run where the service runs, as its account, with its environment: in its container; on the embedded stack in its
        release's folder. Run it with `officeops.process.run` or `started`: stdin and stdout are streamed, stderr is kept apart, the exit
        status is the program's own; when its time is up or the block is left, the program itself is ended, with its children."""
        ...

    def volumes(self, *, measure: bool = False) -> list[Volume]:
        """Those that exist, by name. measure: with their size, which takes as long as reading every folder."""
        ...

    def export_volume(self, volume: str) -> Command:
        """A command that prints a tar of everything in the volume (POSIX format, numeric owners, paths that begin with `./`) on stdout.
        Unknown volumes raise UsageError here and below."""
        ...

    def create_volume(self, volume: str) -> None:
        """A new, empty volume of this stack that no service uses yet. Raises OfficeOpsError when there is one of that name."""
        ...

    def import_volume(self, volume: str) -> Command:
        """A command that reads such a tar on stdin and puts everything into the volume: owners, modes and times as they were."""
        ...

    def exchange_volumes(self, one: str, other: str) -> None:
        """The contents of the two change places, at once and entirely: a crash leaves it done or not done. Refused (RefusedError) while
        a service that uses either runs."""
        ...

    def remove_volume(self, volume: str) -> None:
        """Gone with its contents, no error when it is gone already. Refused (RefusedError) when a service uses it."""
        ...

    def base_backup(self) -> Command:
        """A command that prints a tar of the whole data directory on stdout, taken by pg_basebackup from the running server: with the
        log that makes it consistent, and the server's own manifest of checksums."""
        ...

    def sweep(self) -> list[str]:
        """Ends one-offs that a killed run left running. The caller holds the stack's lock. Returns what was ended, for people."""
        ...

    def database(self, name: str | None = None) -> DatabaseAddress:
        """Where the application's database (or another of that server) is reached from this process."""
        ...

    def ask(self, queries: Sequence[str], *, timeout: float) -> list[str]:
        """The first value that each query gets from the application's database, as text, in the quickest way there is; up to the first
        query that fails. Raises OfficeOpsError when the database does not answer in time."""
        ...

    def deployed(self) -> Deployed | None:
        """The release that runs or ran last, None before the first."""
        ...

    def tool(
        self, argv: Sequence[str], *, files: Sequence[Path] = (), options: Mapping[str, str] | None = None, terminal: bool = False
    ) -> Command:
        """A command that runs a PostgreSQL client program (pg_dump, pg_restore, pg_dumpall, psql ...) of the server's own major version,
        connected by PG* variables to the server (give the database with `-d`). `files`: paths on this host that it must be able to read.
        `options`: server settings of its sessions (PGOPTIONS). `terminal`: for a person at this terminal, and left alone by `sweep`."""
        ...
