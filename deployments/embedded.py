"""The control plane beside the embedded stack: kept running on this host by a supervisor of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import SecretStr

from deployments.control_plane import (
    POSTGRES,
    PROJECT,
    READY_S,
    SERVER,
    WORKER,
    client_environment,
    is_ready,
    own_api_url,
    pool_name,
    prefect_home,
    ui_url,
    wait_until,
)
from officeops.config import Config
from officeops.errors import OfficeOpsError
from officeops.process import Command, run
from officeops.progress import Meter
from officeops.stack.local import ports
from officeops.stack.local.postgres import PostgresServer, answers
from officeops.stack.local.supervisor import Program, Supervisor
from officeops.stack.port import DatabaseAddress

_DATABASE = _ROLE = "prefect"


def up(config: Config) -> list[str]:
    """Server and worker run, and what the project's files say is deployed. Returns what was changed on the server."""
    supervisor = _supervisor(config)
    meter = Meter("prefect", 4, unit="parts")
    _database(config).initialise()
    supervisor.apply(_programs(config))
    _start_database(config, supervisor)
    meter.add()
    _start_server(config, supervisor)
    meter.add()
    changed = _apply(config)
    meter.add()
    supervisor.start(WORKER)
    meter.finish()
    return changed


def down(config: Config) -> None:
    """Nothing of it runs any more."""
    supervisor = _supervisor(config)
    if supervisor.running:
        for name in (WORKER, SERVER, POSTGRES):
            supervisor.stop(name)
    supervisor.shutdown()


def _apply(config: Config) -> list[str]:
    """In a process of its own: Prefect reads its settings when it is imported, and this process may have done so already."""
    environment: dict[str, str | SecretStr] = {**client_environment(config), "PREFECT_API_URL": own_api_url(config.settings)}
    done = run(Command((sys.executable, "-m", "deployments", "apply"), environment, cwd=PROJECT), timeout=300)
    return [line for line in done.stdout.decode().splitlines() if line]


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
    client["PREFECT_API_URL"] = own_api_url(settings)
    client["PREFECT_API_AUTH_STRING"] = settings.prefect_auth_string
    server: dict[str, str | SecretStr] = {
        **{key: value for key, value in client.items() if key not in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")},
        # In parts, which Prefect puts together itself: a password may have any character.
        "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
        "PREFECT_SERVER_DATABASE_HOST": "127.0.0.1",
        "PREFECT_SERVER_DATABASE_PORT": str(settings.prefect_postgres_port),
        "PREFECT_SERVER_DATABASE_USER": _ROLE,
        "PREFECT_SERVER_DATABASE_PASSWORD": settings.prefect_postgres_password,
        "PREFECT_SERVER_DATABASE_NAME": _DATABASE,
        "PREFECT_SERVER_API_AUTH_STRING": settings.prefect_auth_string,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_UI_API_URL": own_api_url(settings),
        "PREFECT_UI_URL": ui_url(settings),
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    }
    serve = (prefect, "server", "start", "--host", "127.0.0.1", "--port", str(settings.prefect_port))
    work = (
        prefect,
        "worker",
        "start",
        "--pool",
        pool_name(config.runbook.stack),
        "--type",
        "process",
        "--name",
        f"{config.runbook.stack} on this host",
    )
    return [
        _database(config).program(),
        Program(SERVER, serve, home, server, stop_wait=15),
        Program(WORKER, work, PROJECT, {**client, "PREFECT_UI_URL": ui_url(settings)}, stop_wait=45),
    ]
