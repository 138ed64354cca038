"""The real backend behind the real Caddy, with a real Redis server; only the model is a stand-in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from officeops.process import Child, Command, Completed, run, started
from officeops.stack.local.programs import caddy
from officeops.stack.port import DatabaseAddress
from tests.support.model import Model
from tests.support.ports import eventually, free_ports

BACKEND = Path(__file__).resolve().parent.parent.parent / "backend"
CADDYFILE = BACKEND.parent / "caddy" / "Caddyfile"
JWT_KEY = "a key for tests only, with ‘odd’ $ign\\s and 100 % of them"
PEOPLE_PASSWORD = "pässword of the {demonstration}"


def database_environment(address: DatabaseAddress) -> dict[str, str | SecretStr]:
    """libpq's variables."""
    return {
        "PGHOST": address.host,
        "PGPORT": str(address.port),
        "PGUSER": address.user,
        "PGPASSWORD": address.password,
        "PGDATABASE": address.database,
    }


def python(*arguments: str, address: DatabaseAddress, **environment: str) -> Completed:
    """Runs Python in the backend's folder, as its one-offs are run."""
    given = {**database_environment(address), **_elsewhere(1, 1), "DEMO_PASSWORD": PEOPLE_PASSWORD, **environment}
    return run(Command((sys.executable, *arguments), given, cwd=BACKEND), timeout=60, ok=range(256))


def alembic(*arguments: str, address: DatabaseAddress) -> Completed:
    """Runs Alembic and expects it to do well."""
    done = python("-m", "alembic", *arguments, address=address)
    assert done.status == 0, done.stderr
    return done


@dataclass
class Server:
    """A program that a test may stop and start again."""

    command: Command
    port: int
    _running: ExitStack = field(default_factory=ExitStack)
    _child: Child | None = None

    def start(self) -> Child:
        self._child = self._running.enter_context(started(self.command, timeout=3600, stdout=subprocess.DEVNULL))
        eventually(lambda: listens(self.port), what=f"{self.command.name}'s start")
        return self._child

    def kill(self) -> None:
        """As a lack of memory would."""
        assert self._child is not None
        os.kill(self._child.pid, signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        self._running.close()


@dataclass
class Office:
    """A running application. `direct`: the backend itself. `front`: through Caddy, with blue open. `green_port`: where the front door
    looks for the second colour. `admin_port`: Caddy's own API."""

    address: DatabaseAddress
    model: Model
    redis: Server
    direct: httpx.Client
    front: httpx.Client
    door: Server
    gate_folder: Path
    green_port: int
    admin_port: int
    _tokens: dict[str, str] = field(default_factory=dict)

    def headers(self, name: str = "demo") -> dict[str, str]:
        """A login."""
        if name not in self._tokens:
            answer = self.direct.post("/api/v1/auth/login", json={"name": name, "password": PEOPLE_PASSWORD})
            self._tokens[name] = answer.json()["access_token"]
        return {"Authorization": f"Bearer {self._tokens[name]}"}

    def new_conversation(self, name: str = "demo") -> int:
        """The id of an empty one."""
        return int(self.direct.post("/api/v1/conversations", json={"title": "test"}, headers=self.headers(name)).json()["id"])

    def messages(self, conversation: int, name: str = "demo") -> list[tuple[str, str]]:
        """(role, content), oldest first."""
        found = self.direct.get(f"/api/v1/conversations/{conversation}/messages", headers=self.headers(name)).json()
        return [(one["role"], one["content"]) for one in found]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        from prometheus_client.parser import text_string_to_metric_families

        families = text_string_to_metric_families(self.direct.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        assert samples, f"/metrics has no {name}"
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Server-sent events as they come."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def backend_server(
    address: DatabaseAddress, redis_port: int, ollama_port: int, *, port: int | None = None, release: str = "0123abcd"
) -> Server:
    """The backend on a port of its own."""
    port = port or free_ports(1)[0]
    environment = {**database_environment(address), **_elsewhere(redis_port, ollama_port), "RELEASE_SHA": release}
    return Server(Command((sys.executable, "-m", "app", "--host", "127.0.0.1", "--port", str(port)), environment, cwd=BACKEND), port)


@contextmanager
def running_office(address: DatabaseAddress, model: Model, folder: Path, **door_environment: str) -> Iterator[Office]:
    """Everything, on a database whose schema is there. door_environment: what Caddy is told besides."""
    redis_port, front_port, admin_port, green_port = free_ports(4)
    gate = folder / "gate"
    gate.mkdir()
    (gate / "green.drain").touch()
    redis = Server(Command((sys.executable, "-m", "officeops.stack.local.redis", "--port", str(redis_port))), redis_port)
    backend = backend_server(address, redis_port, model.port)
    environment = {**_caddy(front_port, admin_port, backend.port, green_port, folder), **door_environment}
    door = Server(Command((str(caddy()), "run", "--config", str(CADDYFILE)), environment), front_port)
    servers = (redis, backend, door)
    try:
        for server in servers:
            server.start()
        with (
            httpx.Client(base_url=f"http://127.0.0.1:{backend.port}", timeout=30) as direct,
            httpx.Client(base_url=f"http://127.0.0.1:{front_port}", timeout=30) as front,
        ):
            yield Office(address, model, redis, direct, front, door, gate, green_port, admin_port)
    finally:
        for server in reversed(servers):
            server.stop()


def listens(port: int) -> bool:
    """Whether a connection to this port is accepted."""
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _elsewhere(redis_port: int, ollama_port: int) -> dict[str, str | SecretStr]:
    return {
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "OLLAMA_URL": f"http://127.0.0.1:{ollama_port}",
        "JWT_SECRET_KEY": SecretStr(JWT_KEY),
    }


def _caddy(port: int, admin: int, backend: int, green: int, folder: Path) -> Mapping[str, str]:
    return {
        "SITE_ADDRESS": f":{port}",
        "SITE_BIND": "127.0.0.1",
        "CADDY_ADMIN": f"127.0.0.1:{admin}",
        "GATE_DIR": os.fspath(folder / "gate"),
        "BACKEND_BLUE": f"127.0.0.1:{backend}",
        "BACKEND_GREEN": f"127.0.0.1:{green}",
        "FRONTEND_BLUE": "127.0.0.1:1",
        "FRONTEND_GREEN": "127.0.0.1:1",
        "XDG_DATA_HOME": os.fspath(folder),
        "XDG_CONFIG_HOME": os.fspath(folder),
    }
