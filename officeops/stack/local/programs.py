"""What supervisor runs for each kind of service. Pure: from the runbook, the settings and a release to descriptions.

A rolled service is two programs: NAME-blue and NAME-green.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from officeops.config import Config
from officeops.errors import OfficeOpsError, UsageError
from officeops.runbook import Service
from officeops.runbook.model import LocalProgram
from officeops.stack.local.postgres import PostgresServer
from officeops.stack.local.supervisor import Program
from officeops.stack.port import COLOURS, Colour
from officeops.stack.values import filled, front_url, release_values


@dataclass(frozen=True)
class Places:
    """A release, where it stands and where its packages are. settings: as for port.Release."""

    sha: str
    release: Path
    venv: Path
    settings: Mapping[str, str] = field(default_factory=dict)


def name_of(service: str, colour: Colour | None) -> str:
    """What the program is called. colour: None for a service that has none."""
    return f"{service}-{colour}" if colour else service


@dataclass(frozen=True)
class Instance:
    """A program that there may be. service: that it belongs to."""

    program: str
    service: str
    colour: Colour | None


def instances(config: Config) -> list[Instance]:
    """Every one that there may be."""
    services = config.runbook.services
    return [
        Instance(name_of(name, colour), name, colour)
        for name, service in services.items()
        for colour in (COLOURS if service.rolled else (None,))
    ]


def all_of(config: Config) -> dict[str, str]:
    """The name of every program that there may be, and the service that it belongs to."""
    return {one.program: one.service for one in instances(config)}


def port_key(service: Service, colour: Colour | None = None) -> str:
    """The key of .env with the port that the service listens on. Raises UsageError when it is none for this stack."""
    key = service.green_port if colour == "green" else service.port
    if key is None or (service.kind == "app" and service.local is None):
        raise UsageError(
            "runbook.yaml has services that only run on Compose: they have no `port`, no `local`, or no `green_port` for a second colour.",
            state="Nothing was changed.",
            todo="Set OFFICEOPS_STACK=compose in .env, or describe them for the embedded stack (docs/runbook.md).",
        )
    return key


def port_of(config: Config, service: Service, colour: Colour | None = None) -> int:
    """The port itself."""
    return int(getattr(config.settings, port_key(service, colour).lower()))


def gate_folder(config: Config) -> Path:
    """Where Caddy looks for the gates."""
    return config.settings.officeops_home / "gate"


def front_door(config: Config) -> Path:
    """The Caddyfile that Caddy runs with: a copy, since the release that it comes from may go before Caddy is started anew."""
    return config.settings.officeops_home / "stack" / "Caddyfile"


def database_server(config: Config) -> PostgresServer:
    """The application's database server."""
    settings = config.settings
    name = config.runbook.database.service
    return PostgresServer(name, settings.officeops_home / name, settings.postgres_port, settings.postgres_user, settings.postgres_password)


def program(config: Config, name: str, places: Places, colour: Colour | None = None) -> Program:
    """How the service `name` runs on that release. colour: of a rolled one."""
    service, settings = config.runbook.services[name], config.settings
    port = port_of(config, service, colour)
    data = settings.officeops_home / name
    if service.local is not None:
        return app_program(config, name_of(name, colour), service.local, places, port=port, stop_wait=service.stop_grace)
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
            argv = [str(caddy()), "run", "--config", str(front_door(config)), "--adapter", "caddyfile"]
    environment = caddy_environment(config, data) if service.kind == "caddy" else {}
    return Program(name, tuple(argv), data, environment, stop_wait=service.stop_grace)


def app_program(config: Config, name: str, local: LocalProgram, places: Places, *, port: int = 0, stop_wait: float = 30) -> Program:
    """A program of the release, with the placeholders of its command and environment filled in."""
    values = release_values(config.settings, places.settings)
    values |= {"port": str(port), "caddy": str(caddy()), "python": sys.executable}
    values |= {"sha": places.sha, "release": str(places.release), "venv": str(places.venv)}
    return Program(
        name,
        tuple(_visible(filled(part, values)) for part in local.command),
        places.release / local.directory,
        {key: filled(text, values) for key, text in local.environment.items()},
        stop_wait=stop_wait,
        release=places.sha,
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


def upstreams(config: Config, colour: Colour) -> dict[str, str]:
    """Where the rolled services of that colour listen, by name, as Caddy is told."""
    runbook = config.runbook
    return {name: f"127.0.0.1:{port_of(config, runbook.services[name], colour)}" for name in runbook.rolled()}


def caddy_environment(config: Config, data: Path) -> dict[str, str | SecretStr]:
    """What the Caddyfile is told. data: where Caddy may keep what it makes."""
    services, settings = config.runbook.services, config.settings
    (port,) = (port_of(config, service) for service in services.values() if service.kind == "caddy")
    single = {name: service for name, service in services.items() if service.kind == "app" and not service.rolled}
    rolled = {f"{name}_{colour}": address for colour in COLOURS for name, address in upstreams(config, colour).items()}
    return {
        "SITE_ADDRESS": f"http://:{port}, https://localhost:{settings.https_port}",
        "SITE_OPTIONS": "auto_https disable_redirects",  # plain HTTP is an answer here
        "PREFECT": f"127.0.0.1:{settings.prefect_port}",
        "PREFECT_FRONT": front_url(settings),
        "SITE_BIND": "127.0.0.1",
        "CADDY_ADMIN": f"127.0.0.1:{settings.caddy_admin_port}",
        "XDG_DATA_HOME": str(data),
        "XDG_CONFIG_HOME": str(data),
        "GATE_DIR": as_pattern(gate_folder(config)),
        **{name.upper(): f"127.0.0.1:{port_of(config, service)}" for name, service in single.items()},
        **{name.upper(): address for name, address in rolled.items()},
    }


def as_pattern(folder: Path) -> str:
    """As Caddy's `file` matcher wants it: to it braces are placeholders, and brackets and stars match other names."""
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", str(folder))
