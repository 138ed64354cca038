"""The embedded stack: supervisor runs the services, a release is a directory. See officeops/stack/port.py for what each verb promises."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pydantic import SecretStr

from officeops import files
from officeops.errors import OfficeOpsError, RefusedError, UsageError
from officeops.gate import Gate
from officeops.postgres import tools
from officeops.process import Command, run
from officeops.progress import Meter
from officeops.stack import caddy, releases
from officeops.stack.local import logs, ports, programs, sources, usage
from officeops.stack.local.colours import Colours
from officeops.stack.local.left_overs import LeftOvers
from officeops.stack.local.releases import Releases
from officeops.stack.local.statuses import AT_REST, problem, statuses
from officeops.stack.local.supervisor import LOG_BYTES, LOG_FILES, Supervisor
from officeops.stack.local.volumes import LocalVolumes
from officeops.stack.port import (
    COLOURS,
    Colour,
    DatabaseAddress,
    Deployed,
    LeftOver,
    LogBlock,
    LogLimits,
    LogLine,
    LogOptions,
    LogSource,
    Part,
    Release,
    ServiceStatus,
    Usage,
    Volume,
    other,
    short,
)

if TYPE_CHECKING:
    from officeops.config import Config
    from officeops.runbook.model import LocalProgram

_START_S = 60.0
_ONE_OFF_S = 3600.0
_POLL_S = 0.05
_VALIDATE_S = 30.0


class LocalStack:
    """The stack of one configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._home = config.settings.officeops_home
        self._supervisor = Supervisor(self._home, "stack")
        application = config.runbook.application
        self._releases = Releases(self._home, config.settings.officeops_app, application.lock, application.requirements)
        self._left_overs = LeftOvers(self._releases, self._supervisor)
        self._colours = Colours(config, self._supervisor, self._releases)
        self._volumes = LocalVolumes(self._home, config.runbook, programs.database_server(config).data)

    @property
    def name(self) -> str:
        return self._config.runbook.stack

    def build(self, ref: str = "HEAD") -> Release:
        self._prepare_home()
        return self._releases.build(ref)

    def rebuild(self, release: Release) -> None:
        self._releases.rebuild(release)

    def bases(self, release: Release) -> dict[str, str]:  # noqa: ARG002 - there is no image
        return {}

    def restore_bases(self, ids: Mapping[str, str]) -> None:
        """There is none."""

    def build_again(self, sha: str, number: int) -> tuple[Release, list[str]]:
        return self._releases.build_again(sha, number)

    def contents(self, release: Release) -> dict[str, Part]:
        return {"virtualenv": self._releases.contents(release)}

    def left_overs(self, needed: Collection[str], now: datetime) -> list[LeftOver]:  # noqa: ARG002 - nothing here has an age
        return self._left_overs.all(needed)

    def remove(self, one: LeftOver) -> None:
        self._left_overs.remove(one)

    def uncommitted(self) -> int:
        return self._releases.commits.uncommitted()

    def up(self, release: Release, *, migrate: Callable[[], object] | None = None, keep_proxy: bool = False) -> None:
        self._prepare_home()
        colour = self._colour()
        self._require_ports()
        self._set_gates(colour)
        self._apply(release, keep_proxy=keep_proxy)
        services = self._config.runbook.services
        meter = Meter("start", len(services), unit="services")
        database = self._config.runbook.database.service
        self._start_healthy(database, _START_S)
        self._create_database()
        meter.add()
        with ThreadPoolExecutor(len(services)) as pool:
            # Migrating needs the database only; what the application asks at its start may need the new schema.
            migrated = pool.submit(migrate) if migrate else pool.submit(self.migrate, release)
            begun = {
                name: pool.submit(self._start_healthy, name, _START_S) for name in services if not self._waits(name) and name != database
            }
            migrated.result()
            self.record(releases.taken_over(self.deployed(), release, colour, datetime.now(UTC)))
            for future in begun.values():
                future.result()
                meter.add()
        for name in self._in_order():
            if name not in begun and name != database:
                self._start_healthy(name, _START_S)
                meter.add()
        meter.finish()

    def require_ours(self) -> None:
        """What runs is under OFFICEOPS_HOME, which is nobody else's."""

    def down(self, *, last: Callable[[], object] | None = None) -> None:
        for name in reversed(self._in_order()):
            if self._supervisor.running:
                self.stop(name)
        self._supervisor.shutdown()
        if last:
            last()

    def migrate(self, release: Release) -> None:
        self._one_off(release, "migrate", self._config.runbook.application.migrate)

    def seed(self, release: Release) -> str:
        return self._one_off(release, "seed", self._config.runbook.application.seed)

    def services(self) -> list[ServiceStatus]:
        asked = [(name, self._colour_of(name)) for name in self._config.runbook.services]
        return statuses(self._config, asked, self._supervisor.status())

    def start(self, service: str, *, timeout: float = _START_S) -> None:
        self._require(service)
        if not self._supervisor.running:
            raise OfficeOpsError("The stack is not running.", todo="Start it with `officeops up`.")
        self._start_healthy(service, timeout)

    def stop(self, service: str) -> None:
        self._require(service)
        if self._supervisor.running:
            both = [program for program, name in programs.all_of(self._config).items() if name == service]
            with ThreadPoolExecutor(len(both)) as pool:
                list(pool.map(self._supervisor.stop, both))

    def restart(self, service: str, *, timeout: float = _START_S) -> None:
        """Of a rolled service the colour that takes requests; the other one is left as it is."""
        self._require(service)
        if self._supervisor.running:
            self._supervisor.stop(self._program_of(service))
        self.start(service, timeout=timeout)

    def launch(self, release: Release, colour: Colour) -> None:
        self._colours.launch(release, colour)

    def retire(self, colour: Colour, *, last: Callable[[], object] | None = None) -> None:
        self._colours.retire(colour)
        if last:
            last()  # logs stay

    def launch_commands(self, release: Release, colour: Colour) -> list[str]:
        return self._colours.launch_commands(release, colour)

    def retire_commands(self, colour: Colour) -> list[str]:
        return self._colours.retire_commands(colour)

    def recreate(self, service: str, *, timeout: float = _START_S) -> None:
        self._require(service)
        releases.require_one_colour(self._config.runbook, service)
        deployed = self.deployed()
        if deployed is None or not self._supervisor.running:
            raise OfficeOpsError("The stack is not running.", todo="Start it with `officeops up`.")
        places = self._releases.places(Release(deployed.sha, deployed.at, deployed.settings))
        self._supervisor.put(programs.program(self._config, service, places))
        self._start_healthy(service, timeout)

    def log_sources(self) -> list[LogSource]:
        live = {one.name for one in self._supervisor.status() if one.state not in AT_REST}
        return [
            LogSource(one.program, one.service, one.program in live, one.colour)
            for one in programs.instances(self._config)
            if self._supervisor.log(one.program).exists()
        ]

    def read_log(self, source: LogSource, cursor: str | None = None) -> Iterator[LogBlock]:
        return sources.read(self._supervisor.log(source.id), cursor)

    def log_options(self) -> list[LogOptions]:
        services, anew = programs.all_of(self._config), LogLimits("supervisor", LOG_BYTES, LOG_FILES)
        kept = self._supervisor.kept()
        return [
            LogOptions(services[one.name], one.name, LogLimits("supervisor", *kept[one.name]), anew)
            for one in self._supervisor.status()
            if one.name in services and one.name in kept and one.state not in AT_REST
        ]

    def instances(self, colour: Colour) -> list[ServiceStatus]:
        return self._colours.instances(colour)

    def endpoint(self, service: str, colour: Colour | None = None) -> str:
        self._require(service)
        if self._is_rolled(service):
            return self._colours.endpoint(service, colour or self._colour())
        return f"http://127.0.0.1:{programs.port_of(self._config, self._config.runbook.services[service])}"

    def front_door(self) -> str:
        (service,) = (one for one in self._config.runbook.services.values() if one.kind == "caddy")
        return f"http://127.0.0.1:{programs.port_of(self._config, service)}"

    def address(self, service: str) -> tuple[str, int]:
        self._require(service)
        return "127.0.0.1", programs.port_of(self._config, self._config.runbook.services[service])

    def in_flight(self, colour: Colour) -> int:
        return self._colours.in_flight(colour)

    @property
    def gate_folder(self) -> Path:
        return programs.gate_folder(self._config)

    def note_addresses(self) -> None:
        """Nobody resolves names here."""

    def data_folders(self) -> list[Path]:
        return []

    def cautions(self) -> list[str]:
        return []

    def record(self, deployed: Deployed) -> None:
        releases.record(self._home, deployed)

    def folder(self, release: Release) -> Path:
        return self._releases.path(release.sha)

    def artifact(self, release: Release) -> dict[str, str]:
        return self._releases.artifact(release)

    def built(self) -> list[Release]:
        return self._releases.built()

    def discard(self, sha: str) -> None:
        deployed = self.deployed()
        running = [status.name for status in self._supervisor.status() if status.release == sha and status.state not in AT_REST]
        if running or (deployed is not None and deployed.sha == sha):
            raise RefusedError(
                f"The release {short(sha)} is in use: {', '.join(running) or 'it is the deployed one'}.", state="It was left as it is."
            )
        self._releases.discard(sha)

    def validate(self, release: Release) -> list[str]:
        file = self._caddyfile(release)
        if not file.is_file():
            return [self._no_caddyfile()]
        with TemporaryDirectory() as data:  # Caddy keeps what it makes of its own there
            environment = programs.caddy_environment(self._config, Path(data))
            command = Command((str(programs.caddy()), "validate", "--config", str(file), "--adapter", "caddyfile"), environment)
            done = run(command, timeout=_VALIDATE_S, ok=range(256))
        return caddy.complaints(done.stderr) if done.status else []

    def proxy_digest(self) -> str | None:
        file = programs.front_door(self._config)
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None

    def reload_proxy(self, release: Release) -> None:
        place, wanted = programs.front_door(self._config), self._caddyfile(release)
        environment = programs.caddy_environment(self._config, place.parent)
        address = f"127.0.0.1:{self._config.settings.caddy_admin_port}"
        argv = (str(programs.caddy()), "reload", "--config", str(wanted), "--adapter", "caddyfile", "--address", address)
        run(Command(argv, environment), timeout=_VALIDATE_S)  # refused: what runs goes on as it is
        files.replace(place, wanted.read_bytes())

    def migration(self, release: Release, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Command:
        local = self._config.runbook.application.migrate
        given = local.model_copy(update={"command": releases.with_arguments(local.command if local else (), arguments)}) if local else None
        if given is None:
            raise UsageError("The runbook has no migration command (application.migrate).", state="Nothing was run.")
        command = self._one_off_command(release, "migrate", given)
        return replace(command, env={**command.env, **(environment or {})})

    def logs(
        self,
        service: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        tail: int | None = None,
        colour: Colour | None = None,
    ) -> Iterator[LogLine]:
        self._require(service)
        name = programs.name_of(service, colour or self._colour()) if self._is_rolled(service) else service
        lines = logs.lines(service, self._supervisor.log(name), since)
        if since is not None:
            lines = (line for line in lines if line.at >= since)
        if until is not None:
            lines = (line for line in lines if line.at <= until)
        return lines if tail is None else iter(deque(lines, tail))

    def usage(self) -> list[Usage]:
        services = programs.all_of(self._config)
        return usage.measure((services[one.name], one.pid) for one in self._supervisor.status() if one.pid and one.name in services)

    def exec(self, service: str, argv: Sequence[str], *, environment: Mapping[str, str | SecretStr] | None = None) -> Command:
        self._require(service)
        deployed = self.deployed()
        if deployed is None:
            raise OfficeOpsError("There is no release yet in which anything could be run.", todo="Start the stack with `officeops up`.")
        places = self._releases.places(Release(deployed.sha, deployed.at, deployed.settings))
        program = programs.program(self._config, service, places, self._colour_of(service))
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
        services = programs.all_of(self._config)
        running = [one.name for one in self._supervisor.status() if services.get(one.name) in users and one.state not in AT_REST]
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
        return run(self._one_off_command(release, name, local), timeout=_ONE_OFF_S).stdout.decode()

    def _one_off_command(self, release: Release, name: str, local: LocalProgram) -> Command:
        program = programs.app_program(self._config, name, local, self._releases.places(release))
        return Command(program.argv, program.environment, cwd=program.cwd)

    def _prepare_home(self) -> None:
        """Others see nothing; as root, they may pass through, since the database's account has to. A folder that is not for us
        alone stays as it is."""
        self._home.mkdir(parents=True, exist_ok=True)
        found = self._home.stat()
        shared = found.st_mode & stat.S_ISVTX or self._config.folder.is_relative_to(self._home)
        if found.st_uid == os.geteuid() and not shared:
            self._home.chmod(0o711 if os.geteuid() == 0 else 0o700)

    def _apply(self, release: Release, *, keep_proxy: bool) -> None:
        """Supervisor has the programs of `release`, and of the deployed colour only."""
        programs.database_server(self._config).initialise()
        places = self._releases.places(release)
        described = [programs.program(self._config, name, places, self._colour_of(name)) for name in self._config.runbook.services]
        for program in described:
            program.cwd.mkdir(parents=True, exist_ok=True)
        if not keep_proxy or self.proxy_digest() is None:
            self._place_caddyfile(release)
        self._supervisor.apply(described)

    def _place_caddyfile(self, release: Release) -> None:
        """Caddy gets the release's. One that runs with another is stopped first: whoever is killed here leaves it to be started anew."""
        file, place = self._caddyfile(release), programs.front_door(self._config)
        if not file.is_file():
            raise UsageError(self._no_caddyfile(), todo="Correct application.caddyfile in runbook.yaml.")
        text = file.read_bytes()
        if place.exists() and place.read_bytes() == text:
            return
        if self._supervisor.running:
            for name, service in self._config.runbook.services.items():
                if service.kind == "caddy":
                    self._supervisor.stop(name)
        files.replace(place, text)

    def _caddyfile(self, release: Release) -> Path:
        return self.folder(release) / self._config.runbook.application.caddyfile

    def _no_caddyfile(self) -> str:
        return f"The release has no {self._config.runbook.application.caddyfile}."

    def _set_gates(self, colour: Colour) -> None:
        gate = Gate(self)
        gate.prepare(colour)
        gate.open(colour)
        gate.shut(other(colour))

    def _colour(self) -> Colour:
        """The one that takes requests."""
        deployed = self.deployed()
        return deployed.colour if deployed else "blue"

    def _colour_of(self, service: str) -> Colour | None:
        return self._colour() if self._is_rolled(service) else None

    def _is_rolled(self, service: str) -> bool:
        return self._config.runbook.services[service].rolled

    def _program_of(self, service: str) -> str:
        return programs.name_of(service, self._colour_of(service))

    def _create_database(self) -> None:
        from officeops.postgres import databases

        address = self.database()
        with databases.maintenance(address, application="officeops up") as connection:
            if not databases.exists(connection, address.database):
                databases.create_like(connection, address.database, None)

    def _start_healthy(self, name: str, timeout: float) -> None:
        service, colour, program = self._config.runbook.services[name], self._colour_of(name), self._program_of(name)
        if self._supervisor.status_of(program).state == "STOPPED":
            ports.require_free(programs.port_of(self._config, service, colour), programs.port_key(service, colour), name)
            if service.kind == "caddy":
                ports.require_free(self._config.settings.caddy_admin_port, "CADDY_ADMIN_PORT", name)
                ports.require_free(self._config.settings.https_port, "HTTPS_PORT", name)
        self._supervisor.start(program)
        deadline = time.monotonic() + timeout
        while why := problem(self._config, name, colour):
            if time.monotonic() > deadline:
                raise OfficeOpsError(
                    f"{name} is not healthy after {timeout:.0f} s: {why}.",
                    state="Its last words:\n" + self._supervisor.last_words(program) + "\n",
                    todo=f"See `officeops logs {name}`; then `officeops up` again.",
                )
            time.sleep(_POLL_S)

    def _require_ports(self) -> None:
        """Before anything is touched: every port is free, or ours already."""
        self._supervisor.sweep()
        ours = self._supervisor.processes()
        for name, service in self._config.runbook.services.items():
            for colour in COLOURS if service.rolled else (None,):
                port, key = programs.port_of(self._config, service, colour), programs.port_key(service, colour)
                ports.require_free(port, key, name, ours=ours)
            if service.kind == "caddy":
                ports.require_free(self._config.settings.caddy_admin_port, "CADDY_ADMIN_PORT", name, ours=ours)
                ports.require_free(self._config.settings.https_port, "HTTPS_PORT", name, ours=ours)

    def _waits(self, name: str) -> bool:
        return bool(self._config.runbook.services[name].depends_on)

    def _in_order(self) -> list[str]:
        """Services, each behind what it depends on."""
        services = self._config.runbook.services
        ordered: list[str] = []

        def visit(name: str) -> None:
            for needed in services[name].depends_on:
                visit(needed)
            if name not in ordered:
                ordered.append(name)

        for name in services:
            visit(name)
        return ordered

    def _require(self, service: str) -> None:
        if service not in self._config.runbook.services:
            raise UsageError(f"There is no service {service!r}.", todo=f"The runbook has {', '.join(self._config.runbook.services)}.")
