"""A real Prefect server with a PostgreSQL of its own, a real worker, and a chat channel that only listens."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags, FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from deployments import control_plane
from deployments.apply import apply, plan
from officeops.config import Config
from officeops.postgres import databases
from officeops.postgres.connect import connected
from officeops.process import Command, run
from officeops.site import Site
from officeops.stack.port import DatabaseAddress
from tests.support.channel import Channel, listening
from tests.support.paths import open_folder
from tests.support.ports import eventually
from tests.support.postgres import Running
from tests.support.site import PROJECT, make_site

OFFICE = """
CREATE TABLE IF NOT EXISTS public.notes (id int PRIMARY KEY, body text);
INSERT INTO public.notes SELECT n, 'メモ ' || n FROM generate_series(1, 1000) AS n ON CONFLICT DO NOTHING;
"""


@dataclass
class Ended:
    """A command that ended: what a program sees of it."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        found = json.loads(self.stdout)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True)
class Plane:
    """A site whose control plane runs."""

    site: Site
    channel: Channel
    created: list[str]  # what the first deployment said that it changed
    parts: dict[str, float]  # how long each part of the start took, in seconds

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        """A client of the server."""
        settings = self.site.config.settings
        address = {
            PREFECT_API_URL: control_plane.api_url(settings),
            PREFECT_API_AUTH_STRING: settings.prefect_auth_string.get_secret_value(),
        }
        with temporary_settings(address), get_client(sync_client=True) as client:
            yield client

    def apply(self, config: Config | None = None) -> list[str]:
        """What an apply changes, in this process. config: another one than the site's."""
        with self.client():
            return apply(config or self.site.config)

    def plan(self) -> list[str]:
        """What an apply would change."""
        with self.client():
            return plan(self.site.config)

    def command(self, command: str, **env: str) -> list[str]:
        """`python -m deployments COMMAND`: what it says."""
        environment = {"OFFICEOPS_DIR": str(self.site.config.folder), **env}
        done = run(Command((sys.executable, "-m", "deployments", command), environment, cwd=PROJECT), timeout=120)
        return done.stdout.decode().splitlines()

    def deployment(self, flow: str) -> DeploymentResponse:
        """The one of a flow, as the server has it."""
        with self.client() as client:
            (found,) = client.read_deployments(
                flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
                deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=["officeops"])),
            )
        return found

    def start(self, flow: str, **options: object) -> FlowRun:
        """A run of a deployment, for the worker."""
        deployment = self.deployment(flow)
        with self.client() as client:
            return client.create_flow_run_from_deployment(deployment.id, parameters={"options": options})

    def ended(self, run: FlowRun, seconds: float = 240) -> FlowRun:
        """The run in its final state."""
        found = [run]

        def over() -> bool:
            found[0] = client.read_flow_run(run.id)
            return found[0].state is not None and found[0].state.is_final()

        with self.client() as client:
            eventually(over, seconds, f"the end of {run.name}")
        return found[0]

    def officeops(self, *arguments: str, stdin: bytes = b"", **env: str) -> Ended:
        """The command, in the site's folder."""
        argv = (sys.executable, "-m", "officeops_cli.main", *arguments)
        command = Command(argv, {"PYTHONPATH": str(PROJECT), "NO_COLOR": "1", **env}, cwd=self.site.config.folder)
        done = run(command, timeout=180, stdin=stdin, ok=range(256))
        return Ended(done.status, done.stdout.decode(), done.stderr)

    def beat(self, run: UUID) -> None:
        """A sign of life of a run, as its process sends it."""
        related = [{"prefect.resource.id": f"prefect.tag.stack:{self.site.name}", "prefect.resource.role": "tag"}]
        event = {"id": str(uuid4()), "occurred": datetime.now(UTC).isoformat(), "event": "prefect.flow-run.heartbeat"}
        about = {"resource": {"prefect.resource.id": f"prefect.flow-run.{run}"}, "related": related, "payload": {}}
        with self.client() as client:
            client._client.post("/events", json=[event | about]).raise_for_status()

    def sql(self, sql: str) -> None:
        """In Prefect's own database: what its API lets nobody do, such as making time pass."""
        settings = self.site.config.settings
        address = DatabaseAddress("127.0.0.1", settings.prefect_postgres_port, "prefect", settings.prefect_postgres_password, "prefect")
        with connected(address, application="test") as connection:
            connection.execute(sql.encode())

    def secrets(self) -> list[str]:
        """Every secret of .env, in clear."""
        values = self.site.config.settings.model_dump().values()
        return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]


@contextmanager
def running_plane(server: Running, database: str) -> Iterator[Plane]:
    """A control plane of its own, for the block."""
    with open_folder() as folder, listening() as channel, databases.maintenance(server.address(), application="test") as connection:
        databases.create_like(connection, database, None)
        run_sql(server, database, OFFICE)
        # As a person would give them: a webhook, and an Apprise URL.
        urls = f"http://{channel.url}/webhook json://{channel.url}/apprise"
        site = make_site(folder, server, database, NOTIFY_URLS=f"'{urls}'", TZ="Asia/Tokyo")
        started = control_plane.up(site.config)
        try:
            yield Plane(site, channel, started.changes, started.parts)
        finally:
            control_plane.down(site.config)


def run_sql(server: Running, database: str, sql: str) -> list[tuple[Any, ...]]:
    """Runs SQL and returns the rows."""
    with connected(server.address(database), application="test") as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def text_file(path: Path, text: str) -> Path:
    """A file with `text`."""
    path.write_text(text)
    return path
