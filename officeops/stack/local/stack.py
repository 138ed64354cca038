"""The embedded stack: supervisor runs the services, a release is a directory. See officeops/stack/port.py for what each verb promises."""

from __future__ import annotations

import os
import re
import stat
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pydantic import SecretStr

from officeops.errors import OfficeOpsError, RefusedError, UsageError
from officeops.postgres import tools
from officeops.process import Command, run
from officeops.progress import Meter
from officeops.stack import health, releases
from officeops.stack.local import ports, programs
from officeops.stack.local.releases import Releases
from officeops.stack.local.supervisor import ProgramStatus, Supervisor
from officeops.stack.local.volumes import LocalVolumes
from officeops.stack.port import DatabaseAddress, Deployed, Health, LogLine, Release, ServiceStatus, State, Usage, Volume

if TYPE_CHECKING:
    from officeops.config import Config
    from officeops.runbook.model import LocalProgram

_STATES: dict[str, State] = {
    "RUNNING": "running", "STARTING": "starting", "STOPPING": "stopping", "STOPPED": "stopped",
    "BACKOFF": "restarting", "EXITED": "failed", "FATAL": "failed", "UNKNOWN": "failed",
}  # fmt: skip
_AT_REST = ("STOPPED", "EXITED", "FATAL")  # no process, and none will come by itself
_START_S = 60.0
_ONE_OFF_S = 3600.0
_POLL_S = 0.05
_STAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,6})?")
_SECONDS = re.compile(r'"ts":(\d{9,10}(?:\.\d+)?)\b')


class LocalStack:
    """The stack of one configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._home = config.settings.officeops_home
        self._supervisor = Supervisor(self._home, "stack")
        self._releases = Releases(self._home, config.settings.officeops_app, config.runbook.application.lock)
        self._volumes = LocalVolumes(self._home, config.runbook, programs.database_server(config).data)

    @property
    def name(self) -> str:
        return self._config.runbook.stack

    def build(self, ref: str = "HEAD") -> Release:
        self._prepare_home()
        return self._releases.build(ref)

    def uncommitted(self) -> int:
        return self._releases.commits.uncommitted()

    def up(self, release: Release) -> None:
        self._prepare_home()
        self._require_ports()
        self._apply(release)
        services = self._config.runbook.services
        meter = Meter("start", len(services), unit="services")
        database = self._config.runbook.database.service
        self._start_healthy(database, _START_S)
        self._create_database()
        meter.add()
        with ThreadPoolExecutor(len(services)) as pool:
            # Migrating needs the database only; what the application asks at its start may need the new schema.
            migrated = pool.submit(self.migrate, release)
            begun = {
                name: pool.submit(self._start_healthy, name, _START_S) for name in services if not self._waits(name) and name != database
            }
            migrated.result()
            releases.record(self._home, releases.taken_over(self.deployed(), release, "blue", datetime.now(UTC)))
            for future in begun.values():
                future.result()
                meter.add()
        for name in self._in_order():
            if name not in begun and name != database:
                self._start_healthy(name, _START_S)
                meter.add()
        meter.finish()

    def down(self) -> None:
        for name in reversed(self._in_order()):
            if self._supervisor.running:
                self._supervisor.stop(name)
        self._supervisor.shutdown()

    def migrate(self, release: Release) -> None:
        self._one_off(release, "migrate", self._config.runbook.application.migrate)

    def seed(self, release: Release) -> str:
        return self._one_off(release, "seed", self._config.runbook.application.seed)

    def services(self) -> list[ServiceStatus]:
        known = {status.name: status for status in self._supervisor.status()}
        names, deployed = list(self._config.runbook.services), self.deployed()
        release = deployed.sha if deployed else None
        with ThreadPoolExecutor(len(names)) as pool:
            return list(pool.map(lambda name: self._service(name, known.get(name), release), names))

    def start(self, service: str, *, timeout: float = _START_S) -> None:
        self._require(service)
        if not self._supervisor.running:
            raise OfficeOpsError("The stack is not running.", todo="Start it with `officeops up`.")
        self._start_healthy(service, timeout)

    def stop(self, service: str) -> None:
        self._require(service)
        if self._supervisor.running:
            self._supervisor.stop(service)

    def restart(self, service: str, *, timeout: float = _START_S) -> None:
        self.stop(service)
        self.start(service, timeout=timeout)

    def logs(self, service: str, *, since: datetime | None = None, tail: int | None = None) -> Iterator[LogLine]:
        self._require(service)
        lines: Iterator[LogLine] = chain.from_iterable(_lines(service, file) for file in self._log_files(service))
        if since is not None:
            lines = (line for line in lines if line.at >= since)
        return lines if tail is None else iter(deque(lines, tail))

    def usage(self) -> list[Usage]:
        import psutil

        running = [status for status in self._supervisor.status() if status.pid]
        families = {}
        for status in running:
            try:
                process = psutil.Process(status.pid)
                families[status.name] = [process, *process.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
        for process in chain.from_iterable(families.values()):
            _cpu(process)
        time.sleep(0.2)
        return [Usage(name, sum(map(_cpu, family)), sum(map(_memory, family))) for name, family in families.items()]

    def exec(self, service: str, argv: Sequence[str], *, environment: Mapping[str, str | SecretStr] | None = None) -> Command:
        self._require(service)
        deployed = self.deployed()
        if deployed is None:
            raise OfficeOpsError("There is no release yet in which anything could be run.", todo="Start the stack with `officeops up`.")
        places = self._places(deployed.sha)
        program = programs.program(self._config, service, places)
        path = {"PATH": f"{places.venv / 'bin'}:{os.environ.get('PATH', os.defpath)}"}
        return Command(tuple(argv), {**path, **program.environment, **(environment or {})}, cwd=program.cwd, user=program.user)

    def volumes(self, *, measure: bool = False) -> list[Volume]:
        return self._volumes.all(measure=measure)

    def export_volume(self, volume: str) -> Command:
        return self._volumes.export(volume)

    def create_volume(self, volume: str) -> None:
        self._prepare_home()
        self._volumes.create(volume)

    def import_volume(self, volume: str) -> Command:
        return self._volumes.import_(volume)

    def exchange_volumes(self, one: str, other: str) -> None:
        users = {*self._volumes.get(one).services, *self._volumes.get(other).services}
        running = [status.name for status in self._supervisor.status() if status.name in users and status.state not in _AT_REST]
        if running:
            raise RefusedError(
                f"{one} and {other} cannot change places while {', '.join(running)} runs.",
                state="Both are as they were.",
                todo="Stop it first.",
            )
        self._volumes.exchange(one, other)

    def remove_volume(self, volume: str) -> None:
        named = self._config.runbook.volumes.get(volume)
        if named is not None and named.services:
            raise RefusedError(f"The volume {volume} is used by {', '.join(named.services)}.", state="It was left as it is.")
        self._volumes.remove(volume)

    def base_backup(self) -> Command:
        return self.tool(tools.pg_basebackup())

    def sweep(self) -> list[str]:
        return self._volumes.sweep()

    def database(self, name: str | None = None) -> DatabaseAddress:
        settings = self._config.settings
        return DatabaseAddress(
            "127.0.0.1", settings.postgres_port, settings.postgres_user, settings.postgres_password, name or settings.postgres_db
        )

    def ask(self, queries: Sequence[str], *, timeout: float) -> list[str]:
        # psql has answered before this process could import a driver. Status 1: a query failed.
        argv = ["psql", "-X", "-A", "-t", "-q", "--no-password", "-d", tools.connection_string(self.database().database)]
        argv += [part for query in queries for part in ("-c", query)]
        return run(self.tool(argv), timeout=timeout, ok=(0, 1)).stdout.decode().splitlines()

    def deployed(self) -> Deployed | None:
        return releases.deployed(self._home)

    def tool(
        self,
        argv: Sequence[str],
        *,
        files: Sequence[Path] = (),  # noqa: ARG002 - they are reachable anyway
        options: Mapping[str, str] | None = None,
        terminal: bool = False,  # noqa: ARG002 - it is ours anyway
    ) -> Command:
        from officeops.stack.local.postgres import binaries

        address = self.database()
        environment: dict[str, str | SecretStr] = {
            "PGHOST": address.host, "PGPORT": str(address.port), "PGUSER": address.user, "PGPASSWORD": address.password,
            "PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "officeops", "PGOPTIONS": " ".join(f"-c {key}={value}" for key, value in (options or {}).items()),
        }  # fmt: skip
        return Command((str(binaries() / argv[0]), *argv[1:]), environment)

    def _one_off(self, release: Release, name: str, local: LocalProgram | None) -> str:
        if local is None:
            return ""
        program = programs.app_program(self._config, name, local, self._places(release.sha))
        return run(Command(program.argv, program.environment, cwd=program.cwd), timeout=_ONE_OFF_S).stdout.decode()

    def _prepare_home(self) -> None:
        """Others see nothing; as root, they may pass through, since the database's account has to. A folder that is not for us
        alone stays as it is."""
        self._home.mkdir(parents=True, exist_ok=True)
        found = self._home.stat()
        shared = found.st_mode & stat.S_ISVTX or self._config.folder.is_relative_to(self._home)
        if found.st_uid == os.geteuid() and not shared:
            self._home.chmod(0o711 if os.geteuid() == 0 else 0o700)

    def _places(self, sha: str) -> programs.Places:
        return programs.Places(sha, self._releases.path(sha), self._releases.venv(sha))

    def _apply(self, release: Release) -> None:
        programs.database_server(self._config).initialise()
        places = self._places(release.sha)
        described = [programs.program(self._config, name, places) for name in self._config.runbook.services]
        for program in described:
            program.cwd.mkdir(parents=True, exist_ok=True)
        self._supervisor.apply(described)

    def _create_database(self) -> None:
        from officeops.postgres import databases

        address = self.database()
        with databases.maintenance(address, application="officeops up") as connection:
            if not databases.exists(connection, address.database):
                databases.create_like(connection, address.database, None)

    def _start_healthy(self, name: str, timeout: float) -> None:
        service = self._config.runbook.services[name]
        if self._supervisor.status_of(name).state == "STOPPED":
            ports.require_free(programs.port_of(self._config, service), str(service.port), name)
            if service.kind == "caddy":
                ports.require_free(self._config.settings.caddy_admin_port, "CADDY_ADMIN_PORT", name)
        self._supervisor.start(name)
        deadline = time.monotonic() + timeout
        while why := self._problem(name):
            if time.monotonic() > deadline:
                raise OfficeOpsError(
                    f"{name} is not healthy after {timeout:.0f} s: {why}.",
                    state="Its last words:\n" + self._supervisor.last_words(name) + "\n",
                    todo=f"See `officeops logs {name}`; then `officeops up` again.",
                )
            time.sleep(_POLL_S)

    def _require_ports(self) -> None:
        """Before anything is touched: every port is free, or ours already."""
        self._supervisor.sweep()
        ours = self._supervisor.processes()
        for name, service in self._config.runbook.services.items():
            ports.require_free(programs.port_of(self._config, service), str(service.port), name, ours=ours)
            if service.kind == "caddy":
                ports.require_free(self._config.settings.caddy_admin_port, "CADDY_ADMIN_PORT", name, ours=ours)

    def _problem(self, name: str) -> str:
        service = self._config.runbook.services[name]
        settings = self._config.settings
        return health.problem(service, "127.0.0.1", programs.port_of(self._config, service), settings, admin_port=settings.caddy_admin_port)

    def _service(self, name: str, status: ProgramStatus | None, release: str | None) -> ServiceStatus:
        if status is None:
            return ServiceStatus(name, "stopped", "unknown", 0, None, None)
        state = _STATES[status.state]
        why = self._problem(name) if state in ("running", "starting") else ""
        well: Health = "unknown" if state not in ("running", "starting") else "unhealthy" if why else "healthy"
        own = release if self._config.runbook.services[name].kind == "app" else None
        return ServiceStatus(name, state, well, status.restarts, own, status.started_at, why or status.detail)

    def _waits(self, name: str) -> bool:
        return bool(self._config.runbook.services[name].depends_on)

    def _in_order(self) -> list[str]:
        """Services, each behind what it depends on."""
        services = self._config.runbook.services
        ordered: list[str] = []

        def visit(name: str) -> None:
            for other in services[name].depends_on:
                visit(other)
            if name not in ordered:
                ordered.append(name)

        for name in services:
            visit(name)
        return ordered

    def _require(self, service: str) -> None:
        if service not in self._config.runbook.services:
            raise UsageError(f"There is no service {service!r}.", todo=f"The runbook has {', '.join(self._config.runbook.services)}.")

    def _log_files(self, service: str) -> list[IO[str]]:
        """Open files, oldest first. Opened newest first: one that is rotated meanwhile shows up twice, and is never missed."""
        newest = self._supervisor.log(service)
        opened: dict[int, IO[str]] = {}
        for path in [newest, *sorted(newest.parent.glob(f"{newest.name}.*"), key=lambda path: int(path.suffix[1:]))]:
            with suppress(FileNotFoundError):
                file = path.open(encoding="utf-8", errors="replace")
                if opened.setdefault(os.fstat(file.fileno()).st_ino, file) is not file:
                    file.close()
        return list(reversed(opened.values()))


def _lines(service: str, file: IO[str]) -> Iterator[LogLine]:
    """A line's time is the one it begins with; a line without has that of the line before it, or else of the next one that has one,
    or else of the file's last change."""
    waiting: list[str] = []
    at: datetime | None = None
    with file:
        for line in file:
            at = _stamp(line) or at
            waiting.append(line.rstrip("\n"))
            if at is not None:
                yield from (LogLine(service, at, text) for text in waiting)
                waiting.clear()
        changed = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
    yield from (LogLine(service, changed, text) for text in waiting)


def _stamp(line: str) -> datetime | None:
    """The time in UTC that a line begins with: written out, or in seconds, as Caddy does."""
    if found := _STAMP.search(line[:40]):
        with suppress(ValueError):
            return datetime.fromisoformat(found[0].replace(",", ".")).replace(tzinfo=UTC)
    if found := _SECONDS.search(line[:80]):
        return datetime.fromtimestamp(float(found[1]), UTC)
    return None


def _cpu(process: object) -> float:
    import psutil

    assert isinstance(process, psutil.Process)
    try:
        return process.cpu_percent() / 100
    except psutil.Error:
        return 0.0


def _memory(process: object) -> int:
    import psutil

    assert isinstance(process, psutil.Process)
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
