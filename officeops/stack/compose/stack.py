"""The stack on Docker Compose. See officeops/stack/port.py for what each verb promises.

Every call of Compose names its services: those of the profile `prefect` are never among them, or a worker would stop its own run.
"""

from __future__ import annotations

import heapq
import json
import math
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic import SecretStr

from officeops.errors import OfficeOpsError, UsageError
from officeops.postgres import tools
from officeops.process import Command
from officeops.progress import Meter
from officeops.settings.model import PORTS
from officeops.stack import health, releases
from officeops.stack.compose import commands, containers, execute, logs
from officeops.stack.compose.commands import ONE_OFF, RUN, STACK, TOOL
from officeops.stack.compose.engine import COMPOSE_ONE_OFF, PROJECT, SERVICE, Engine, explanation
from officeops.stack.compose.volumes import ComposeVolumes, Mount
from officeops.stack.local import ports
from officeops.stack.port import DatabaseAddress, Deployed, LogLine, Release, ServiceStatus, Usage, Volume
from officeops.stack.values import filled, setting_values

if TYPE_CHECKING:
    from officeops.config import Config
    from officeops.runbook.model import ComposeApplication, ComposeCommand

_WORKING_DIR = "com.docker.compose.project.working_dir"
_PORTS = {"postgres": 5432, "redis": 6379, "ollama": 11434, "caddy": 80}
_PGDATA = "/var/lib/postgresql/data"
_START_S, _UP_S, _BUILD_S, _ONE_OFF_S, _STOP_S = 60.0, 180.0, 1800.0, 3600.0, 60.0
_PULL_S = 3600.0  # the first `up` fetches images of several GB
_LAST_WORDS = 20
_ENGINE_FAILED = 125  # as `docker run` says of everything that is not the program's own doing


class ComposeStack:
    """The stack of one configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._home, self._app = config.settings.officeops_home, config.settings.officeops_app
        self._commits = releases.Commits(self._home, self._app)
        self._configs: dict[str, dict[str, Any]] = {}
        self.engine = Engine()

    @property
    def name(self) -> str:
        return self._config.runbook.stack

    def build(self, ref: str = "HEAD") -> Release:
        release = self._commits.export(ref)
        services = self._described(release.sha)
        built = [name for name in self._config.runbook.services if services.get(name, {}).get("build")]
        if not all(self.engine.has_image(services[name]["image"]) for name in built):
            # Contexts are the release's own files, not those of the working tree.
            project = replace(self.project(release.sha), directory=self._commits.path(release.sha))
            meter = Meter("build", len(built), unit="images")
            self.engine.run(project.command(*commands.build(built), DOCKER_BUILDKIT="1"), timeout=_BUILD_S)
            meter.finish()
        return release

    def uncommitted(self) -> int:
        return self._commits.uncommitted()

    def up(self, release: Release) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        services = self._config.runbook.services
        self._require_ours()
        self._require_ports(release.sha)
        first = [name for name, service in services.items() if not service.depends_on and service.kind != "app"]
        self._bring_up(release.sha, first, wait_for=[self._config.runbook.database.service])
        self.migrate(release)
        self._bring_up(release.sha, list(services), wait_for=list(services))
        releases.record(self._home, releases.taken_over(self.deployed(), release, "blue", datetime.now(UTC)))

    def down(self) -> None:
        grace = max(service.stop_grace for service in self._config.runbook.services.values())
        if self._containers():
            project, names = self._running_project(), list(self._described(self._sha()))
            self.engine.run(project.command(*commands.stop(names, math.ceil(grace))), timeout=grace + _STOP_S)
            self.engine.run(project.command(*commands.remove(names)), timeout=_STOP_S)
        if not self.engine.containers({PROJECT: self.name}):
            with self.engine.explained():
                for network in self.engine.api.networks(filters={"label": f"{PROJECT}={self.name}"}):
                    self.engine.api.remove_network(network["Id"])

    def migrate(self, release: Release) -> None:
        self._one_off(release, self._application.migrate)

    def seed(self, release: Release) -> str:
        return self._one_off(release, self._application.seed)

    def services(self) -> list[ServiceStatus]:
        names, found = list(self._config.runbook.services), self._containers()
        with ThreadPoolExecutor(len(names)) as pool:
            return list(pool.map(lambda name: self._status(name, found.get(name)), names))

    def start(self, service: str, *, timeout: float = _START_S) -> None:
        self._require(service)
        known = self._containers().get(service)
        if known:
            with self.engine.explained():
                self.engine.api.start(known[0])  # no error when it runs
        elif self.deployed() is None:
            raise OfficeOpsError("The stack is not running.", todo="Start it with `officeops up`.")
        else:
            self.engine.run(self._running_project().command(*commands.up([service], alone=True)), timeout=_PULL_S)
        self._wait([service], timeout)

    def stop(self, service: str) -> None:
        self._require(service)
        grace = math.ceil(self._config.runbook.services[service].stop_grace)
        with self.engine.explained():
            for container in self._containers().get(service, ()):
                self.engine.api.stop(container, timeout=grace)

    def restart(self, service: str, *, timeout: float = _START_S) -> None:
        self.stop(service)
        self.start(service, timeout=timeout)

    def logs(self, service: str, *, since: datetime | None = None, tail: int | None = None) -> Iterator[LogLine]:
        self._require(service)
        known = self._containers().get(service, ())
        lines: Iterator[LogLine] = heapq.merge(
            *(logs.lines(self.engine, service, container, since=since, tail=tail) for container in known), key=attrgetter("at")
        )
        return lines if tail is None or len(known) < 2 else iter(deque(lines, tail))

    def usage(self) -> list[Usage]:
        running = [(name, one) for name, ids in self._containers(running_only=True).items() for one in ids]
        if not running:
            return []
        with ThreadPoolExecutor(len(running)) as pool:
            samples = list(pool.map(self._sample, running))
        found = [containers.usage(name, sample) for (name, _), sample in zip(running, samples, strict=True)]
        return _added([one for one in found if one is not None])

    def exec(self, service: str, argv: Sequence[str], *, environment: Mapping[str, str | SecretStr] | None = None) -> Command:
        self._require(service)
        running = self._containers(running_only=True).get(service)
        if not running:
            raise OfficeOpsError(f"{service} is not running, so nothing can run inside it.", todo="Start it with `officeops up`.")
        return self._to_engine(execute.command(running[0], argv, environment or {}))

    def volumes(self, *, measure: bool = False) -> list[Volume]:
        return self._volumes().all(measure=measure)

    def export_volume(self, volume: str) -> Command:
        return self._ended_with_us(self._volumes().export(volume))

    def create_volume(self, volume: str) -> None:
        self._volumes().create(volume)

    def import_volume(self, volume: str) -> Command:
        return self._ended_with_us(self._volumes().import_(volume))

    def exchange_volumes(self, one: str, other: str) -> None:
        self._volumes().exchange(one, other)

    def remove_volume(self, volume: str) -> None:
        self._volumes().remove(volume)

    def base_backup(self) -> Command:
        found = self._database_container()
        # The official image lets replication in from the server's own address only: we share its network, not its file system.
        return self._tool(found, tools.pg_basebackup(), f"container:{found['Id']}", "127.0.0.1")

    def sweep(self) -> list[str]:
        left = self.engine.kill({STACK: self.name, ONE_OFF: TOOL})
        return left + self.engine.kill({PROJECT: self.name, COMPOSE_ONE_OFF: "True"})

    def database(self, name: str | None = None) -> DatabaseAddress:
        settings, service = self._config.settings, self._config.runbook.database.service
        ids = self._containers(running_only=True).get(service)
        found = self.engine.inspect(ids[0]) if ids else None
        place = containers.address(found) if found else None
        # Nothing is published: the engine's host, and containers on the same network, reach a container by its own address.
        host = place[1] if place else service
        return DatabaseAddress(host, _PORTS["postgres"], settings.postgres_user, settings.postgres_password, name or settings.postgres_db)

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

    def deployed(self) -> Deployed | None:
        return releases.deployed(self._home)

    def tool(
        self, argv: Sequence[str], *, files: Sequence[Path] = (), options: Mapping[str, str] | None = None, terminal: bool = False
    ) -> Command:
        found = self._database_container()
        place, service = containers.address(found), self._config.runbook.database.service
        if place is None or not self.engine.has_image(found["Image"]):
            return self._tool_inside(found, argv, files, options)
        return self._tool(found, argv, place[0], service, files=files, options=options, kind=commands.TERMINAL if terminal else TOOL)

    def project(self, sha: str) -> commands.Project:
        """The Compose project on a release: the file is the release's own, relative paths of its mounts begin in the working tree."""
        for folder in (self._home, self._app):
            if "%" in str(folder):
                raise UsageError(
                    f"Compose cannot work in a folder whose name has a per cent sign: {folder}.",
                    state="Nothing was changed.",
                    todo="Move it, or set OFFICEOPS_HOME and OFFICEOPS_APP in .env to other folders.",
                )
        environment: dict[str, str | SecretStr] = {key.upper(): value for key, value in setting_values(self._config.settings).items()}
        environment |= {
            "COMPOSE_PROJECT_NAME": self.name, "RELEASE_SHA": sha, "OFFICEOPS_DIR": str(self._config.folder),
            "DOCKER_SOCKET": self.engine.address.removeprefix("unix://"), "DOCKER_HOST": self.engine.address,
            "OFFICEOPS_UID": str(os.geteuid()), "OFFICEOPS_GID": str(os.getegid()),
            "RELEASE_CREATED": self._commits.committed_at(sha).isoformat(),
        }  # fmt: skip
        file = self._commits.path(sha) / self._application.file
        beside = self._app / f"{file.stem}.override{file.suffix}"  # what differs on this host, as Compose itself would find it
        # An application with a .env of its own has it read; ours is given exactly, by the environment.
        own = self._app / ".env"
        env_file = own if self._app != self._config.folder and own.exists() else Path(os.devnull)
        return commands.Project(self.name, self._app, (file, beside) if beside.exists() else (file,), env_file, environment)

    @property
    def _application(self) -> ComposeApplication:
        found = self._config.runbook.application.compose
        if found is None:
            raise UsageError(
                "runbook.yaml does not say how this application runs on Compose.",
                state="Nothing was changed.",
                todo="Add application.compose (see docs/runbook.md), or set OFFICEOPS_STACK=local in .env.",
            )
        return found

    def _sha(self) -> str:
        """The release that runs, or the last commit before there is any."""
        deployed = self.deployed()
        return deployed.sha if deployed else self._commits.export("HEAD").sha

    def _running_project(self) -> commands.Project:
        return self.project(self._sha())

    def _described(self, sha: str) -> dict[str, dict[str, Any]]:
        """The services of the release's Compose file, everything filled in, without those of any profile."""
        if sha not in self._configs:
            done = self.engine.run(self.project(sha).command(*commands.config()), timeout=60)
            self._configs[sha] = json.loads(done.stdout)
            self._require_all(self._configs[sha]["services"])
        services: dict[str, dict[str, Any]] = self._configs[sha]["services"]
        return services

    def _require_all(self, services: Mapping[str, Any]) -> None:
        if missing := [name for name in self._config.runbook.services if name not in services]:
            raise UsageError(
                f"The Compose file {self._application.file} has no service {', '.join(missing)}.",
                state="Nothing was changed.",
                todo="Name the same services in runbook.yaml and in the Compose file, outside of profiles.",
            )

    def _containers(self, *, running_only: bool = False) -> dict[str, list[str]]:
        """Ids of each service's containers, running ones first, then the newest."""
        found: dict[str, list[dict[str, Any]]] = {}
        for one in self.engine.containers({PROJECT: self.name, COMPOSE_ONE_OFF: "False"}, running_only=running_only):
            found.setdefault(one["Labels"][SERVICE], []).append(one)
        order = {"running": 0, "restarting": 1}
        known = self._config.runbook.services
        return {
            name: [one["Id"] for one in sorted(found[name], key=lambda one: (order.get(one["State"], 2), -one["Created"]))]
            for name in known
            if name in found
        }

    def _status(self, name: str, ids: Sequence[str] | None) -> ServiceStatus:
        found = self.engine.inspect(ids[0]) if ids else None
        return containers.status(
            name, found, app=self._config.runbook.services[name].kind == "app", problem=self._problem(name, found) if found else None
        )

    def _problem(self, name: str, found: Mapping[str, Any]) -> str | None:
        """What asking the service itself shows; None when it cannot be asked."""
        service, place = self._config.runbook.services[name], containers.address(found)
        port = service.container_port or _PORTS.get(service.kind)
        if place is None or port is None or found["State"]["Status"] != "running":
            return None
        return health.problem(service, place[1], port, self._config.settings)

    def _bring_up(self, sha: str, services: list[str], *, wait_for: list[str]) -> None:
        try:
            self.engine.run(self.project(sha).command(*commands.up(services)), timeout=_PULL_S)
        except OfficeOpsError as error:
            for one in self.services():  # Compose says which one it gave up on, not why
                if one.state in ("failed", "restarting"):
                    raise self._unwell(one) from error
            raise
        self._wait(wait_for, _UP_S)

    def _wait(self, services: Sequence[str], timeout: float) -> None:
        """Until all are healthy. Raises OfficeOpsError naming the first that cannot become so, with its last words."""
        meters = {name: Meter(name, 1, unit="") for name in services}
        deadline = time.monotonic() + timeout
        with self.engine.watching({PROJECT: self.name}) as wait:
            while True:
                found = {one.name: one for one in self.services() if one.name in services}
                for name in [name for name in meters if found[name].health == "healthy"]:
                    meters.pop(name).finish()
                if not meters:
                    return
                late = time.monotonic() > deadline
                if hopeless := next((found[name] for name in meters if late or _is_hopeless(found[name])), None):
                    raise self._unwell(hopeless, None if _is_hopeless(hopeless) else timeout)
                wait(0.2)

    def _unwell(self, service: ServiceStatus, timeout: float | None = None) -> OfficeOpsError:
        words = "\n".join(line.text for line in self.logs(service.name, tail=_LAST_WORDS))
        when = f" after {timeout:.0f} s" if timeout else ""
        return OfficeOpsError(
            f"{service.name} is not healthy{when}: {service.detail or service.state}.",
            state=f"Its last words:\n{words}\n",
            todo=f"See `officeops logs {service.name}`; then `officeops up` again.",
        )

    def _one_off(self, release: Release, given: ComposeCommand | None) -> str:
        if given is None:
            return ""
        values = {**setting_values(self._config.settings), "sha": release.sha}
        environment = {key: filled(text, values) for key, text in given.environment.items()}
        argv = [str(filled(part, values)) for part in given.command]
        run = uuid4().hex
        command = self.project(release.sha).command(*commands.one_off(given.service, argv, run, list(environment)), **environment)
        titled = replace(command, title=" ".join(argv[:2]), on_kill=lambda: self._kill(run))
        return self.engine.run(titled, timeout=_ONE_OFF_S).stdout.decode()

    def _kill(self, run: str) -> None:
        self.engine.kill({RUN: run})

    def _database_container(self) -> dict[str, Any]:
        service = self._config.runbook.database.service
        ids = self._containers(running_only=True).get(service)
        found = self.engine.inspect(ids[0]) if ids else None
        if found is None:
            raise OfficeOpsError(f"{service} is not running.", state="Nothing was changed.", todo="Start it with `officeops up`.")
        return found

    def _tool(
        self, database: Mapping[str, Any], argv: Sequence[str], network: str, host: str, *,
        files: Sequence[Path] = (), options: Mapping[str, str] | None = None, kind: str = TOOL,
    ) -> Command:  # fmt: skip
        """A client program in a container of the very image that the server runs from, so that the versions are the same."""
        run = uuid4().hex
        user = f"{os.geteuid()}:{os.getegid()}"  # who may read `files`
        container = commands.Container(
            self.name, database["Image"], network, user, run, tuple(commands.bind(file) for file in files), kind=kind
        )
        return self._ended_with_us(container.command(argv[0], argv[1:], self._client_environment(host, options)))

    def _tool_inside(
        self, database: Mapping[str, Any], argv: Sequence[str], files: Sequence[Path], options: Mapping[str, str] | None
    ) -> Command:
        """The same in the server's own container, when no other can be made of its image or join its network."""
        if files:
            raise OfficeOpsError(
                f"{argv[0]} cannot read {files[0]}: the database's image is gone or its container has no network of its own.",
                state="Nothing was changed.",
                todo="Fetch the image again (`docker compose pull`), then the same command again.",
            )
        return self._to_engine(execute.command(database["Id"], argv, self._client_environment("127.0.0.1", options)))

    def _client_environment(self, host: str, options: Mapping[str, str] | None) -> dict[str, str | SecretStr]:
        settings = self._config.settings
        return {
            "PGHOST": host, "PGPORT": str(_PORTS["postgres"]), "PGUSER": settings.postgres_user, "PGPASSWORD": settings.postgres_password,
            "PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "officeops", "PGOPTIONS": " ".join(f"-c {key}={value}" for key, value in (options or {}).items()),
        }  # fmt: skip

    def _ended_with_us(self, command: Command) -> Command:
        """A `docker run` whose container ends when the command does, also by force."""
        program = next(part.removeprefix("--entrypoint=") for part in command.argv if part.startswith("--entrypoint="))
        run = next(part.rpartition("=")[2] for part in command.argv if part.startswith(f"--label={RUN}="))
        return replace(self._to_engine(command), title=program, on_kill=lambda: self._kill(run))

    def _to_engine(self, command: Command) -> Command:
        """To the engine that the SDK asks, and with its failures told as such."""
        address = self.engine.address

        def explain(status: int, said: str) -> OfficeOpsError | None:
            return explanation(said, address) if status == _ENGINE_FAILED else None

        return replace(command, env={**command.env, "DOCKER_HOST": address}, explain=explain)

    def _sample(self, service: tuple[str, str]) -> dict[str, Any]:
        with self.engine.explained():
            return dict(self.engine.api.stats(service[1], stream=False))  # waits for a second sample, a second later

    def _volumes(self) -> ComposeVolumes:
        runbook, services = self._config.runbook, self._described(self._sha())
        mounts = [
            Mount(name, str(one["source"]), PurePosixPath(one["target"]))
            for name in runbook.services
            for one in services[name].get("volumes") or []
            if one["type"] == "volume" and one.get("source")
        ]
        database = runbook.database.service
        data = (services[database].get("environment") or {}).get("PGDATA") or _PGDATA
        names = [database, *(name for name in runbook.services if name != database)]
        images = [image for name in names if (image := self._image(name, services[name]))]
        return ComposeVolumes(self.engine, self.name, mounts, database, PurePosixPath(data), tuple(dict.fromkeys(images)))

    def _image(self, name: str, described: Mapping[str, Any]) -> str | None:
        reference = str(described.get("image") or f"{self.name}-{name}")
        return reference if self.engine.has_image(reference) else None

    def _require(self, service: str) -> None:
        if service not in self._config.runbook.services:
            raise UsageError(f"There is no service {service!r}.", todo=f"The runbook has {', '.join(self._config.runbook.services)}.")

    def _require_ours(self) -> None:
        """Two folders with one stack's name would change each other's containers."""
        for one in self.engine.containers({PROJECT: self.name}):
            folder = one["Labels"].get(_WORKING_DIR, str(self._app))
            if folder != str(self._app):
                raise UsageError(
                    f"A Compose project {self.name} of another folder ({folder}) is on this host already.",
                    state="Nothing was changed.",
                    todo="Give this one another name (`stack` in runbook.yaml), or take that one down first.",
                )

    def _require_ports(self, sha: str) -> None:
        """Before anything is touched: every port that is published is free, or ours already."""
        services, running = self._described(sha), self._containers(running_only=True)
        keys = {getattr(self._config.settings, name): name.upper() for name in PORTS}
        for name in self._config.runbook.services:
            for published in services[name].get("ports") or []:
                port = int(published.get("published") or 0)
                if port and name not in running:
                    ports.require_free(port, keys.get(port, "its port"), name)


def _is_hopeless(service: ServiceStatus) -> bool:
    """It ended, or ends again and again: waiting longer shows nothing else."""
    return service.state == "failed" or (service.state == "restarting" and service.restarts >= 3)


def _added(found: Sequence[Usage]) -> list[Usage]:
    """One for each service, however many containers it has."""
    sums: dict[str, Usage] = {}
    for one in found:
        before = sums.get(one.service, Usage(one.service, 0.0, 0))
        sums[one.service] = Usage(one.service, before.cpu + one.cpu, before.memory + one.memory)
    return list(sums.values())
