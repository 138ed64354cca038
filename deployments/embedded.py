"""The control plane beside the embedded stack: kept running on this host by a supervisor of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import SecretStr

from deployments.control_plane import (
    HEARTBEAT,
    POSTGRES,
    PROJECT,
    READY_S,
    SERVER,
    SERVER_SETTINGS,
    WATCHER,
    WORKER,
    Started,
    client_environment,
    is_ready,
    notices_queue,
    own_api_url,
    pool_name,
    prefect_home,
    said_changes,
    ui_url,
    wait_until,
)
from officeops.config import Config
from officeops.errors import OfficeOpsError
from officeops.host import host_name
from officeops.process import Command, run
from officeops.progress import Meter
from officeops.settings import Settings
from officeops.stack.local import ports
from officeops.stack.local.postgres import PostgresServer, answers
from officeops.stack.local.supervisor import Program, Supervisor
from officeops.stack.port import DatabaseAddress

_DATABASE = _ROLE = "prefect"


def up(config: Config) -> Started:
    """Server and worker run, and what the project's files say is deployed."""
    supervisor, started = _supervisor(config), Started()
    meter = Meter("prefect", 4, unit="parts")
    with started.part("database"):
        _database(config).initialise()
        supervisor.apply(_programs(config))
        _start_database(config, supervisor)
    meter.add()
    with started.part("server"):
        _start_server(config, supervisor)
    meter.add()
    with started.part("deployments"):
        started.changes = _apply(config)
    meter.add()
    with started.part("worker"):
        supervisor.start(WORKER)
        supervisor.start(WATCHER)
    meter.finish()
    return started


def down(config: Config) -> None:
    """Nothing of it runs any more."""
    supervisor = _supervisor(config)
    if supervisor.running:
        for name in (WATCHER, WORKER, SERVER, POSTGRES):
            supervisor.stop(name)
    supervisor.shutdown()


def _apply(config: Config) -> list[str]:
    """In a process of its own: Prefect reads its settings when it is imported, and this process may have done so already."""
    environment: dict[str, str | SecretStr] = {**client_environment(config), "PREFECT_API_URL": own_api_url(config.settings)}
    done = run(Command((sys.executable, "-m", "deployments", "apply"), environment, cwd=PROJECT), timeout=300)
    return said_changes(done.stdout)


def _start_database(config: Config, supervisor: Supervisor) -> None:
    from officeops.postgres import databases

    settings = config.settings
    _start(supervisor, POSTGRES, settings.prefect_postgres_port, "PREFECT_POSTGRES_PORT")
    wait_until(lambda: not answers(settings.prefect_postgres_port, _ROLE, "postgres"), lambda: _late(supervisor, POSTGRES))
    address = DatabaseAddress("127.0.0.1", settings.prefect_postgres_port, _ROLE, settings.prefect_postgres_password, _DATABASE)
    with databases.maintenance(address, application="officeops up") as connection:
        if not databases.exists(connection, _DATABASE):
            databases.create_like(connection, _DATABASE, None)


def _start_server(config: Config, supervisor: Supervisor) -> None:
    _start(supervisor, SERVER, config.settings.prefect_port, "PREFECT_PORT")
    wait_until(lambda: is_ready(config.settings), lambda: _late(supervisor, SERVER))


def _start(supervisor: Supervisor, name: str, port: int, key: str) -> None:
    if supervisor.status_of(name).state == "STOPPED":
        ports.require_free(port, key, name)
    supervisor.start(name)


def _late(supervisor: Supervisor, name: str) -> OfficeOpsError:
    return OfficeOpsError(
        f"{name} is not ready after {READY_S:.0f} s.",
        state=f"Its last words:\n{supervisor.last_words(name)}\n",
        todo=f"See {supervisor.log(name)}; then `officeops up` again.",
    )


def _supervisor(config: Config) -> Supervisor:
    return Supervisor(config.settings.officeops_home, "prefect")


def _database(config: Config) -> PostgresServer:
    settings = config.settings
    folder = settings.officeops_home / "prefect" / "postgres"
    return PostgresServer(
        POSTGRES, folder, settings.prefect_postgres_port, _ROLE, settings.prefect_postgres_password,
        settings=("shared_buffers=64MB", "max_connections=100", "max_wal_size=512MB"),
    )  # fmt: skip


def _programs(config: Config) -> list[Program]:
    settings, home = config.settings, prefect_home(config)
    home.mkdir(parents=True, exist_ok=True)
    prefect = str(Path(sys.prefix) / "bin" / "prefect")
    client: dict[str, str | SecretStr] = {**client_environment(config), "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO", "TZ": settings.tz}
    client |= {"PREFECT_API_URL": own_api_url(settings), "PREFECT_API_AUTH_STRING": settings.prefect_auth_string}
    shared = {key: value for key, value in client.items() if key not in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")}
    serve = (prefect, "server", "start", "--host", "127.0.0.1", "--port", str(settings.prefect_port))
    queues = ("--work-queue", host_name(settings), "--work-queue", notices_queue(settings))
    named = f"{config.runbook.stack} on {host_name(settings)}"
    work = (prefect, "worker", "start", "--pool", pool_name(config.runbook.stack), *queues, "--type", "process", "--name", named)
    watch = (sys.executable, "-m", "officeops_cli.main", "watch")  # no Prefect in it: it watches while there is none
    worker = {**client, "PREFECT_UI_URL": ui_url(settings), **HEARTBEAT}
    return [
        _database(config).program(),
        Program(SERVER, serve, home, {**shared, **_server_environment(settings)}, stop_wait=15),
        Program(WORKER, work, home, worker, stop_wait=45),
        Program(WATCHER, watch, PROJECT, {"OFFICEOPS_DIR": str(config.folder), "TZ": settings.tz}, stop_wait=15),
    ]


def _server_environment(settings: Settings) -> dict[str, str | SecretStr]:
    return {
        # In parts, which Prefect puts together itself: a password may have any character.
        "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
        "PREFECT_SERVER_DATABASE_HOST": "127.0.0.1",
        "PREFECT_SERVER_DATABASE_PORT": str(settings.prefect_postgres_port),
        "PREFECT_SERVER_DATABASE_USER": _ROLE,
        "PREFECT_SERVER_DATABASE_PASSWORD": settings.prefect_postgres_password,
        "PREFECT_SERVER_DATABASE_NAME": _DATABASE,
        "PREFECT_SERVER_API_AUTH_STRING": settings.prefect_auth_string,
        "PREFECT_UI_URL": ui_url(settings),
        **SERVER_SETTINGS,
    }
