"""The stack on Docker Compose. See officeops/stack/port.py for what each verb promises.

Every call of Compose names its services: those of the profile `prefect` are never among them, or a worker would stop its own run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pydantic import SecretStr

from officeops.errors import OfficeOpsError, RefusedError, UsageError
from officeops.gate import Gate
from officeops.process import Command
from officeops.settings.model import PORTS
from officeops.stack import releases
from officeops.stack.compose import commands, execute, logs, names
from officeops.stack.compose.addresses import Addresses
from officeops.stack.compose.clients import Clients
from officeops.stack.compose.commands import ONE_OFF, STACK, TOOL
from officeops.stack.compose.contents import Contents
from officeops.stack.compose.engine import COMPOSE_ONE_OFF, PROJECT, Engine
from officeops.stack.compose.images import Images
from officeops.stack.compose.left_overs import LeftOvers
from officeops.stack.compose.one_offs import OneOffs
from officeops.stack.compose.projects import Projects
from officeops.stack.compose.proxy import Proxy
from officeops.stack.compose.rolling import Rolling
from officeops.stack.compose.running import Running
from officeops.stack.compose.sources import Logs
from officeops.stack.compose.validation import Validation
from officeops.stack.compose.volumes import ComposeVolumes, Mount
from officeops.stack.local import ports
from officeops.stack.port import (
    Colour,
    DatabaseAddress,
    Deployed,
    LeftOver,
    LogBlock,
    LogLine,
    LogOptions,
    LogSource,
    Part,
    Release,
    ServiceStatus,
    Usage,
    Volume,
    commit_of,
    other,
    short,
)

if TYPE_CHECKING:
    from officeops.config import Config

_WORKING_DIR = "com.docker.compose.project.working_dir"
_PGDATA = "/var/lib/postgresql/data"
_START_S, _UP_S, _STOP_S = 60.0, 180.0, 60.0
_PULL_S = 3600.0  # the first `up` fetches images of several GB


class ComposeStack:
    """The stack of one configuration."""

    def __init__(self, config: Config) -> None:
        self._config, self._runbook = config, config.runbook
        self._home, self._app = config.settings.officeops_home, config.settings.officeops_app
        self._commits = releases.Commits(self._home, self._app)
        self.engine = Engine()
        self._projects = Projects(config, self.engine, self._commits)
        self._running = Running(config, self.engine, self._colour)
        self._images = Images(self.engine, self._projects, self._commits)
        self._contents = Contents(config.runbook.stack, self.engine, self._projects, self._commits)
        self._left_overs = LeftOvers(self.engine, self._projects, self._commits, self._contents)
        self._one_offs = OneOffs(config, self.engine, self._projects)
        self._rolling = Rolling(config, self.engine, self._projects, self._images, self._running)
        self._addresses = Addresses(config, self.gate_folder, self._running)
        self._proxy = Proxy(config, self.engine, self._running, self._rolling)
        self._clients = Clients(config, self.engine, self._running)
        self._logs = Logs(config, self.engine, self._projects)

    @property
    def name(self) -> str:
        return self._runbook.stack

    # --- releases ------------------------------------------------------------------------------------------------------------

    def build(self, ref: str = "HEAD") -> Release:
        release = self._commits.export(ref)
        self._images.build(release)
        return release

    def rebuild(self, release: Release) -> None:
        self._commits.export_anew(release.sha)
        self._images.build(release, anew=True)

    def bases(self, release: Release) -> dict[str, str]:
        return self._contents.bases(release)

    def restore_bases(self, ids: Mapping[str, str]) -> None:
        self._contents.restore_bases(ids)

    def build_again(self, sha: str, number: int) -> tuple[Release, list[str]]:
        name = f"{commit_of(sha)}-r{number}"
        self._commits.export_anew(name)
        release = self._commits.found(name)
        notes = self._contents.fetch_bases(release)
        self._images.build_from_nothing(release)
        return release, notes

    def contents(self, release: Release) -> dict[str, Part]:
        return self._contents.of(release)

    def left_overs(self, needed: Collection[str], now: datetime) -> list[LeftOver]:
        return self._left_overs.all(needed, now)

    def remove(self, one: LeftOver) -> None:
        self._left_overs.remove(one)

    def uncommitted(self) -> int:
        return self._commits.uncommitted()

    def folder(self, release: Release) -> Path:
        return self._commits.path(release.sha)

    def artifact(self, release: Release) -> dict[str, str]:
        return self._images.ids(release)

    def built(self) -> list[Release]:
        return self._images.built()

    def discard(self, sha: str) -> None:
        deployed = self.deployed()
        if deployed is not None and deployed.sha == sha:
            raise RefusedError(f"The release {short(sha)} is the deployed one.", state="It was left as it is.")
        self._images.discard(sha)

    def validate(self, release: Release) -> list[str]:
        return Validation(self._config, self.engine, self._projects).problems(release, self.folder(release))

    def deployed(self) -> Deployed | None:
        return releases.deployed(self._home)

    def record(self, deployed: Deployed) -> None:
        releases.record(self._home, deployed)

    def migrate(self, release: Release) -> None:
        self._one_offs.migrate(release)

    def migration(self, release: Release, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Command:
        return self._one_offs.migration(release, arguments, environment or {})

    def seed(self, release: Release) -> str:
        return self._one_offs.seed(release)

    # --- everything ----------------------------------------------------------------------------------------------------------

    def up(self, release: Release, *, migrate: Callable[[], object] | None = None, keep_proxy: bool = False) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        services, colour = self._runbook.services, self._colour()
        self.require_ours()
        self._require_ports(release)
        self._make_gate(colour)
        if not keep_proxy or self.proxy_digest() is None:
            self._proxy.place(self._caddyfile(release))
        first = [name for name, service in services.items() if not service.depends_on and service.kind != "app"]
        self._bring_up(release, first, wait_for=[self._runbook.database.service])
        if migrate:
            migrate()
        else:
            self.migrate(release)
        self._bring_up(release, names.everything(self._runbook, colour), wait_for=list(services))
        self._rolling.retire(other(colour))
        self._rolling.forget_undivided(release)
        self._addresses.note()
        self.record(releases.taken_over(self.deployed(), release, colour, datetime.now(UTC)))

    def require_ours(self) -> None:
        for one in self.engine.containers({PROJECT: self.name}):
            folder = one["Labels"].get(_WORKING_DIR, str(self._app))
            if folder != str(self._app):
                raise UsageError(
                    f"A Compose project {self.name} of another folder ({folder}) is on this host already.",
                    state="Nothing was changed.",
                    todo="Give this one another name (`stack` in runbook.yaml), or take that one down first.",
                )

    def down(self, *, last: Callable[[], object] | None = None) -> None:
        self.require_ours()
        grace = max(service.stop_grace for service in self._runbook.services.values())
        if self._running.all():
            release = self._projects.running()
            project, everything = self._projects.of(release.sha, release.settings), list(self._projects.described(release))
            # The front door first: what is on its way ends while there is somebody to answer it.
            for stopped in ([self._rolling.caddy], everything):
                self.engine.run(project.command(*commands.stop(stopped, math.ceil(grace))), timeout=grace + _STOP_S)
            if last:
                last()
            self.engine.run(project.command(*commands.remove(everything)), timeout=_STOP_S)
        if not self.engine.containers({PROJECT: self.name}):
            with self.engine.explained():
                for network in self.engine.api.networks(filters={"label": f"{PROJECT}={self.name}"}):
                    self.engine.api.remove_network(network["Id"])

    def services(self) -> list[ServiceStatus]:
        return self._running.services()

    def usage(self) -> list[Usage]:
        return self._running.usage()

    def sweep(self) -> list[str]:
        left = self.engine.kill({STACK: self.name, ONE_OFF: TOOL})
        database = self._running.of(self._runbook.database.service, running_only=True)
        known = [found for ids in self._running.all(running_only=True).values() for one in ids if (found := self.engine.inspect(one))]
        left += execute.sweep(self.engine, known, next(iter(database), ""))
        return left + self.engine.kill({PROJECT: self.name, COMPOSE_ONE_OFF: "True"})

    # --- one service ---------------------------------------------------------------------------------------------------------

    def start(self, service: str, *, timeout: float = _START_S) -> None:
        self._require(service)
        known = self._running.of(service)
        if known:
            with self.engine.explained():
                self.engine.api.start(known[0])  # no error when it runs
        elif self.deployed() is None:
            raise OfficeOpsError("The stack is not running.", todo="Start it with `officeops up`.")
        else:
            release = self._projects.running()
            Gate(self).prepare(self._colour())
            alone = commands.up([names.named(self._runbook, service, self._colour())], alone=True)
            self.engine.run(self._projects.of(release.sha, release.settings).command(*alone), timeout=_PULL_S)
        self._addresses.note()
        self._running.wait([service], timeout)

    def stop(self, service: str) -> None:
        self._require(service)
        found = self._running.all()
        self._stop(service, [one for name in names.all_of(self._runbook, service) for one in found.get(name, ())])

    def restart(self, service: str, *, timeout: float = _START_S) -> None:
        self._require(service)
        self._stop(service, self._running.of(service))
        self.start(service, timeout=timeout)

    def recreate(self, service: str, *, timeout: float = _START_S) -> None:
        self._require(service)
        releases.require_one_colour(self._runbook, service)
        release = self._projects.running()
        self.engine.run(self._projects.of(release.sha, release.settings).command(*commands.launch([service])), timeout=_PULL_S)
        self._running.wait([service], timeout)

    def log_sources(self) -> list[LogSource]:
        return self._logs.sources()

    def read_log(self, source: LogSource, cursor: str | None = None) -> Iterator[LogBlock]:
        return logs.read(self.engine, source, cursor)

    def log_options(self) -> list[LogOptions]:
        return self._logs.options()

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
        return self._running.logs(service, since=since, until=until, tail=tail, colour=colour)

    def exec(self, service: str, argv: Sequence[str], *, environment: Mapping[str, str | SecretStr] | None = None) -> Command:
        self._require(service)
        running = self._running.of(service, running_only=True)
        if not running:
            raise OfficeOpsError(f"{service} is not running, so nothing can run inside it.", todo="Start it with `officeops up`.")
        return self.engine.asked(execute.command(running[0], argv, environment or {}))

    # --- colours -------------------------------------------------------------------------------------------------------------

    def launch(self, release: Release, colour: Colour) -> None:
        self._rolling.launch(release, colour)
        self._addresses.note()

    def retire(self, colour: Colour, *, last: Callable[[], object] | None = None) -> None:
        self._rolling.retire(colour, last=last)
        self._addresses.note()

    def launch_commands(self, release: Release, colour: Colour) -> list[str]:
        return self._rolling.launch_commands(release, colour)

    def retire_commands(self, colour: Colour) -> list[str]:
        return self._rolling.retire_commands(colour)

    def instances(self, colour: Colour) -> list[ServiceStatus]:
        return self._running.instances(colour)

    def endpoint(self, service: str, colour: Colour | None = None) -> str:
        self._require(service)
        return self._rolling.endpoint(service, colour)

    def front_door(self) -> str:
        return self._rolling.front_door()

    def in_flight(self, colour: Colour) -> int:
        return self._rolling.in_flight(colour)

    @property
    def gate_folder(self) -> Path:
        return self._home / "gate"

    def note_addresses(self) -> None:
        self._addresses.note()

    def data_folders(self) -> list[Path]:
        return self.engine.data_folders()

    def cautions(self) -> list[str]:
        return self.engine.cautions()

    def proxy_digest(self) -> str | None:
        return self._proxy.digest()

    def reload_proxy(self, release: Release) -> None:
        self._proxy.reload(self._caddyfile(release))

    # --- volumes and the database --------------------------------------------------------------------------------------------

    def volumes(self, *, measure: bool = False) -> list[Volume]:
        return self._volumes().all(measure=measure)

    def export_volume(self, volume: str) -> Command:
        return self.engine.ended_with_us(self._volumes().export(volume))

    def create_volume(self, volume: str) -> None:
        self._volumes().create(volume)

    def import_volume(self, volume: str) -> Command:
        return self.engine.ended_with_us(self._volumes().import_(volume))

    def exchange_volumes(self, one: str, other: str) -> None:
        self._volumes().exchange(one, other)

    def remove_volume(self, volume: str) -> None:
        self._volumes().remove(volume)

    def base_backup(self) -> Command:
        return self._clients.base_backup()

    def database(self, name: str | None = None) -> DatabaseAddress:
        return self._clients.address(name)

    def address(self, service: str) -> tuple[str, int]:
        self._require(service)
        return self._running.place(service)

    def ask(self, queries: Sequence[str], *, timeout: float) -> list[str]:
        # A driver is imported in less time than a container starts.
        import psycopg

        from officeops.postgres.connect import connected

        answers: list[str] = []
        with connected(self.database(), application="officeops status", timeout=timeout) as connection, suppress(psycopg.Error):
            for query in queries:
                row = connection.execute(query.encode()).fetchone()
                answers += [str(row[0])] if row else []
        return answers

    def tool(
        self, argv: Sequence[str], *, files: Sequence[Path] = (), options: Mapping[str, str] | None = None, terminal: bool = False
    ) -> Command:
        return self._clients.command(argv, files, options, terminal=terminal)

    def project(self, sha: str) -> commands.Project:
        """The Compose project on a release, with today's settings."""
        return self._projects.of(sha)

    # --- inside --------------------------------------------------------------------------------------------------------------

    def _colour(self) -> Colour:
        """Of the rolled services that take requests."""
        deployed = self.deployed()
        return deployed.colour if deployed else "blue"

    def _caddyfile(self, release: Release) -> Path:
        return self.folder(release) / self._runbook.application.caddyfile

    def _make_gate(self, colour: Colour) -> None:
        """Before Caddy's container, or the engine would make the folder, for root."""
        gate = Gate(self)
        gate.prepare(colour)
        gate.open(colour)
        gate.shut(other(colour))

    def _bring_up(self, release: Release, services: list[str], *, wait_for: list[str]) -> None:
        """services: as Compose calls them."""
        try:
            self.engine.run(self._projects.of(release.sha, release.settings).command(*commands.up(services)), timeout=_PULL_S)
        except OfficeOpsError as error:
            for one in self.services():  # Compose says which one it gave up on, not why
                if one.state in ("failed", "restarting"):
                    raise self._running.unwell(one) from error
            raise
        self._running.wait(wait_for, _UP_S)

    def _stop(self, service: str, ids: Sequence[str]) -> None:
        self.engine.stop(ids, math.ceil(self._runbook.services[service].stop_grace))

    def _volumes(self) -> ComposeVolumes:
        runbook, services = self._runbook, self._projects.described(self._projects.running())
        mounts = [
            Mount(service, str(one["source"]), PurePosixPath(one["target"]))
            for service in runbook.services
            for name in names.all_of(runbook, service)
            for one in services[name].get("volumes") or []
            if one["type"] == "volume" and one.get("source")
        ]
        database = runbook.database.service
        data = (services[database].get("environment") or {}).get("PGDATA") or _PGDATA
        first = [database, *(name for name in names.everything(runbook, "blue") if name != database)]
        images = [image for name in first if self.engine.has_image(image := self._projects.image(name, services[name]))]
        return ComposeVolumes(self.engine, self.name, mounts, database, PurePosixPath(data), tuple(dict.fromkeys(images)))

    def _require(self, service: str) -> None:
        if service not in self._runbook.services:
            raise UsageError(f"There is no service {service!r}.", todo=f"The runbook has {', '.join(self._runbook.services)}.")

    def _require_ports(self, release: Release) -> None:
        """Before anything is touched: every port that is published is free, or ours already."""
        services, running = self._projects.described(release), self._running.all(running_only=True)
        keys = {getattr(self._config.settings, name): name.upper() for name in PORTS}
        for name in names.everything(self._runbook, self._colour()):
            for published in services[name].get("ports") or []:
                port = int(published.get("published") or 0)
                if port and name not in running:
                    ports.require_free(port, keys.get(port, "its port"), name)
