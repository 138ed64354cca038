"""What supervisor runs for each kind of service. Pure: from the runbook, the settings and a release to descriptions."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from officeops.config import Config
from officeops.errors import OfficeOpsError, UsageError
from officeops.runbook import Service
from officeops.runbook.model import LocalProgram
from officeops.stack.local.postgres import PostgresServer
from officeops.stack.local.supervisor import Program
from officeops.stack.values import filled, setting_values


@dataclass(frozen=True)
class Places:
    """A release, where it stands and where its packages are."""

    sha: str
    release: Path
    venv: Path


def port_of(config: Config, service: Service) -> int:
    """The port that the service listens on. Raises UsageError when it is none for this stack."""
    if service.port is None or (service.kind == "app" and service.local is None):
        raise UsageError(
            "runbook.yaml has services that only run on Compose: they have no `port`, or no `local`.",
            state="Nothing was changed.",
            todo="Set OFFICEOPS_STACK=compose in .env, or describe them for the embedded stack (docs/runbook.md).",
        )
    return int(getattr(config.settings, service.port.lower()))


def database_server(config: Config) -> PostgresServer:
    """The application's database server."""
    settings = config.settings
    name = config.runbook.database.service
    return PostgresServer(name, settings.officeops_home / name, settings.postgres_port, settings.postgres_user, settings.postgres_password)


def program(config: Config, name: str, places: Places) -> Program:
    """How the service `name` runs on that release."""
    service, settings = config.runbook.services[name], config.settings
    port = port_of(config, service)
    data = settings.officeops_home / name
    if service.local is not None:
        return app_program(config, name, service.local, places, port=port, stop_wait=service.stop_grace)
    match service.kind:
        case "postgres":
            return database_server(config).program()
        case "redis" if server := shutil.which("redis-server"):
            argv = [server, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(data), "--appendonly", "yes"]
        case "redis":
            argv = [sys.executable, "-m", "officeops.stack.local.redis", "--port", str(port)]
        case "ollama":
            argv = [sys.executable, "-m", "officeops.stack.local.ollama", "--port", str(port), "--model", settings.ollama_model]
        case _:
            argv = [str(caddy()), "run", "--config", str(places.release / "caddy" / "Caddyfile"), "--adapter", "caddyfile"]
    environment = _caddy_environment(config, port, data) if service.kind == "caddy" else {}
    return Program(name, tuple(argv), data, environment, stop_wait=service.stop_grace)


def app_program(config: Config, name: str, local: LocalProgram, places: Places, *, port: int = 0, stop_wait: float = 30) -> Program:
    """A program of the release, with the placeholders of its command and environment filled in."""
    values = setting_values(config.settings)
    values |= {"port": str(port), "caddy": str(caddy()), "python": sys.executable}
    values |= {"sha": places.sha, "release": str(places.release), "venv": str(places.venv)}
    return Program(
        name,
        tuple(_visible(filled(part, values)) for part in local.command),
        places.release / local.directory,
        {key: filled(text, values) for key, text in local.environment.items()},
        stop_wait=stop_wait,
    )


def _visible(part: str | SecretStr) -> str:
    """Arguments are for everybody on the machine to see."""
    if isinstance(part, SecretStr):
        raise OfficeOpsError("A command of runbook.yaml has a secret among its arguments.", todo="Give it by `environment` instead.")
    return part


def caddy() -> Path:
    """The Caddy of this environment, or the one on PATH."""
    ours = Path(sys.prefix) / "bin" / "caddy"
    found = ours if ours.exists() else shutil.which("caddy")
    if found is None:
        raise OfficeOpsError("There is no caddy here.", todo="Run `make setup`.")
    return Path(found)


def _caddy_environment(config: Config, port: int, data: Path) -> dict[str, str | SecretStr]:
    upstreams = {
        name.upper(): f"127.0.0.1:{port_of(config, service)}" for name, service in config.runbook.services.items() if service.kind == "app"
    }
    return {
        "SITE_ADDRESS": f":{port}",
        "SITE_BIND": "127.0.0.1",
        "CADDY_ADMIN": f"127.0.0.1:{config.settings.caddy_admin_port}",
        "XDG_DATA_HOME": str(data),
        "XDG_CONFIG_HOME": str(data),
        **upstreams,
    }
