"""The Prefect server, its own PostgreSQL and a worker: what programs need to find them, and starting and stopping them.

How they run depends on where the application runs: under a supervisor on this host, or in containers (`embedded`, `on_compose`).
What the command line needs to find the server imports no Prefect.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import httpx

from officeops.config import Config
from officeops.host import host_name
from officeops.settings import Settings
from officeops.stack.values import front_url, site_url

if TYPE_CHECKING:
    from pydantic import SecretStr

POSTGRES, SERVER, WORKER, WATCHER = "prefect-postgres", "prefect-server", "prefect-worker", "prefect-watcher"
PROJECT = Path(__file__).resolve().parent.parent  # prefect.yaml, flows and tasks: this program's own folder, not the application's
READY_S = 180.0
NOTHING = "Nothing to change."
BASE = "/prefect"  # where the server's pages are, behind the front door and on its own port alike
# How any server of ours is set; docker-compose.yml says the same.
SERVER_SETTINGS = {
    "PREFECT_SERVER_UI_SERVE_BASE": BASE,
    "PREFECT_SERVER_API_BASE_PATH": f"{BASE}/api",
    "PREFECT_SERVER_UI_API_URL": f"{BASE}/api",  # relative: the same pages answer on the server's own port and behind the front door
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    # On disk: in memory a restart of the server would leak the slots that are held.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(90 * 24 * 3600),
}
# A run that gives no sign of life for minutes is marked Crashed: see automations.py. 30 s is the least that Prefect allows.
HEARTBEAT = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}


@dataclass
class Started:
    """changes: what was changed on the server. parts: how long each part of the start took, in seconds."""

    changes: list[str] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measures the block."""
        began = time.monotonic()
        yield
        self.parts[name] = time.monotonic() - began


class _Way(Protocol):
    """A way to run the control plane."""

    def up(self, config: Config) -> Started: ...

    def down(self, config: Config) -> None: ...


def api_url(settings: Settings) -> str:
    """Where programs reach the server: from here, which may be a container beside it."""
    return settings.prefect_api_url or own_api_url(settings)


def own_api_url(settings: Settings) -> str:
    """Where this host's own server answers."""
    return f"http://127.0.0.1:{settings.prefect_port}{BASE}/api"


def ui_url(settings: Settings) -> str:
    """Where people reach its pages, and where links in messages lead: by the site's own address where there is one, else on this host."""
    named = site_url(settings)
    return f"{named}{BASE}" if named else f"http://127.0.0.1:{settings.prefect_port}{BASE}"


def front_door_url(settings: Settings) -> str:
    """The same pages through the front door, by TLS."""
    return f"{front_url(settings)}{BASE}"


def pool_name(stack: str) -> str:
    """The work pool of a stack."""
    return f"officeops-{stack}"


def notices_queue(settings: Settings) -> str:
    """The queue of this host's messages."""
    return f"{host_name(settings)}.notices"


def prefect_home(config: Config) -> Path:
    """What Prefect keeps on this host."""
    return config.settings.officeops_home / "prefect" / "home"


def become_client(config: Config, *, offline: bool = False) -> None:
    """Imports Prefect, set up as `client_environment` says. Prefect takes the `.env` of the working folder for its own and reads it for each
    of its settings, 324 times: ours is not meant for it, and would cost a second of processor time. So it is imported from elsewhere."""
    os.environ.update(client_environment(config, offline=offline))
    with chdir("/"):
        import prefect  # noqa: F401 - for what its import does


def client_environment(config: Config, *, offline: bool = False) -> dict[str, str]:
    """What a process needs in its environment before it imports Prefect. offline: a private server of its own, in memory of this run."""
    common = {
        "PREFECT_HOME": str(prefect_home(config)),
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


def said_changes(output: bytes | str) -> list[str]:
    """The lines that `python -m deployments apply` printed, without the one that says that there was nothing to do."""
    text = output if isinstance(output, str) else output.decode()
    return [line for line in text.splitlines() if line and line != NOTHING]


def up(config: Config) -> Started:
    """Server and worker run, and what the project's files say is deployed."""
    return _way(config).up(config)


def down(config: Config) -> None:
    """Nothing of it runs any more; what it kept stays."""
    _way(config).down(config)


def is_ready(settings: Settings, *, timeout: float = 2.0) -> bool:
    """Whether this host's server answers and has its database. Health alone stays good when the database is dead."""
    return answers(own_api_url(settings), settings.prefect_auth_string, timeout=timeout)


def answers(api: str, auth: SecretStr, *, timeout: float) -> bool:
    """Whether the server behind this API is ready."""
    header = base64.b64encode(auth.get_secret_value().encode()).decode()
    secure = api.startswith("https:")  # else reading all certificates of authorities would take fifty times as long as the question
    try:
        return httpx.get(f"{api}/ready", timeout=timeout, headers={"Authorization": f"Basic {header}"}, verify=secure).status_code == 200
    except httpx.HTTPError:
        return False


def wait_until(well: Callable[[], bool], late: Callable[[], Exception]) -> None:
    """Asks until it is well. Raises what `late` says when that takes more than READY_S seconds; `well` may raise sooner."""
    deadline = time.monotonic() + READY_S
    while not well():
        if time.monotonic() > deadline:
            raise late()
        time.sleep(0.1)


def _way(config: Config) -> _Way:
    """The one place that chooses."""
    if config.settings.officeops_stack == "compose":
        from deployments import on_compose

        return cast(_Way, on_compose)
    from deployments import embedded

    return cast(_Way, embedded)
