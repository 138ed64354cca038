"""The Prefect server, its own PostgreSQL and a worker, kept running on this host by a supervisor of their own.

What the command line needs to find the server imports no Prefect.
"""

from __future__ import annotations

import base64
import sys
import time
from pathlib import Path

import httpx
from pydantic import SecretStr

from officeops.config import Config
from officeops.errors import OfficeOpsError
from officeops.progress import Meter
from officeops.settings import Settings
from officeops.stack.local import ports
from officeops.stack.local.postgres import PostgresServer, answers
from officeops.stack.local.supervisor import Program, Supervisor
from officeops.stack.port import DatabaseAddress

POSTGRES, SERVER, WORKER = "prefect-postgres", "prefect-server", "prefect-worker"
_DATABASE = _ROLE = "prefect"
_READY_S = 90.0


def api_url(settings: Settings) -> str:
    """Where programs reach the server."""
    return f"http://127.0.0.1:{settings.prefect_port}/api"


def ui_url(settings: Settings) -> str:
    """Where people reach it."""
    return f"http://127.0.0.1:{settings.prefect_port}"


def pool_name(stack: str) -> str:
    """The work pool of a stack."""
    return f"officeops-{stack}"


def client_environment(config: Config, *, offline: bool = False) -> dict[str, str]:
    """What a process needs in its environment before it imports Prefect. offline: a private server of its own, in memory of this run."""
    common = {
        "PREFECT_HOME": str(_home(config)),
        # Everything is kept on the server; the terminal is for the command's own words.
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_PROMPT": "false",
        "OFFICEOPS_DIR": str(config.folder),
    }
    if offline:
        # 18 to 26 s were measured for a server of one's own to answer on a busy machine.
        return {
            **common,
            "PREFECT_API_URL": "",
            # A server that lives only as long as its run takes no events, and Prefect would complain of each.
            "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
        }
    settings = config.settings
    return {**common, "PREFECT_API_URL": api_url(settings), "PREFECT_API_AUTH_STRING": settings.prefect_auth_string.get_secret_value()}


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


def is_ready(settings: Settings, *, timeout: float = 2.0) -> bool:
    """Whether the server answers and has its database. Health alone stays good when the database is dead."""
    auth = base64.b64encode(settings.prefect_auth_string.get_secret_value().encode()).decode()
    try:
        return httpx.get(f"{api_url(settings)}/ready", timeout=timeout, headers={"Authorization": f"Basic {auth}"}).status_code == 200
    except httpx.HTTPError:
        return False


def _apply(config: Config) -> list[str]:
    """In a process of its own: Prefect reads its settings when it is imported, and this process may have done so already."""
    from officeops.process import Command, run

    environment: dict[str, str | SecretStr] = dict(client_environment(config))
    done = run(Command((sys.executable, "-m", "deployments", "apply"), environment, cwd=_project()), timeout=300)
    return [line for line in done.stdout.decode().splitlines() if line]


def _start_database(config: Config, supervisor: Supervisor) -> None:
    from officeops.postgres import databases

    settings = config.settings
    _start(supervisor, POSTGRES, settings.prefect_postgres_port, "PREFECT_POSTGRES_PORT")
    _wait(lambda: not answers(settings.prefect_postgres_port, _ROLE, "postgres"), supervisor, POSTGRES)
    address = DatabaseAddress("127.0.0.1", settings.prefect_postgres_port, _ROLE, settings.prefect_postgres_password, _DATABASE)
    with databases.maintenance(address, application="officeops up") as connection:
        if not databases.exists(connection, _DATABASE):
            databases.create_like(connection, _DATABASE, None)


def _start_server(config: Config, supervisor: Supervisor) -> None:
    _start(supervisor, SERVER, config.settings.prefect_port, "PREFECT_PORT")
    _wait(lambda: is_ready(config.settings), supervisor, SERVER)


def _start(supervisor: Supervisor, name: str, port: int, key: str) -> None:
    if supervisor.status_of(name).state == "STOPPED":
        ports.require_free(port, key, name)
    supervisor.start(name)


def _wait(well: object, supervisor: Supervisor, name: str) -> None:
    assert callable(well)
    deadline = time.monotonic() + _READY_S
    while not well():
        if time.monotonic() > deadline:
            raise OfficeOpsError(
                f"{name} is not ready after {_READY_S:.0f} s.",
                state=f"Its last words:\n{supervisor.last_words(name)}\n",
                todo=f"See {supervisor.log(name)}; then `officeops up` again.",
            )
        time.sleep(0.1)


def _supervisor(config: Config) -> Supervisor:
    return Supervisor(config.settings.officeops_home, "prefect")


def _home(config: Config) -> Path:
    return config.settings.officeops_home / "prefect" / "home"


def _project() -> Path:
    """Where prefect.yaml, flows and tasks are: this program's own folder, not the application's."""
    return Path(__file__).resolve().parent.parent


def _database(config: Config) -> PostgresServer:
    settings = config.settings
    folder = settings.officeops_home / "prefect" / "postgres"
    return PostgresServer(
        POSTGRES, folder, settings.prefect_postgres_port, _ROLE, settings.prefect_postgres_password,
        settings=("shared_buffers=64MB", "max_connections=100", "max_wal_size=512MB"),
    )  # fmt: skip


def _programs(config: Config) -> list[Program]:
    settings, home = config.settings, _home(config)
    home.mkdir(parents=True, exist_ok=True)
    prefect = str(Path(sys.prefix) / "bin" / "prefect")
    client: dict[str, str | SecretStr] = {**client_environment(config), "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO", "TZ": settings.tz}
    client["PREFECT_API_AUTH_STRING"] = settings.prefect_auth_string
    password = settings.prefect_postgres_password.get_secret_value()
    server: dict[str, str | SecretStr] = {
        **{key: value for key, value in client.items() if key not in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")},
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": SecretStr(
            f"postgresql+asyncpg://{_ROLE}:{password}@127.0.0.1:{settings.prefect_postgres_port}/{_DATABASE}"
        ),
        "PREFECT_SERVER_API_AUTH_STRING": settings.prefect_auth_string,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_UI_API_URL": api_url(settings),
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
        Program(WORKER, work, _project(), {**client, "PREFECT_UI_URL": ui_url(settings)}, stop_wait=45),
    ]
