"""A whole office as people run it: the stack with two releases, the control plane, a chat channel, and somebody in front of the UI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort

from deployments import control_plane
from officeops.releases.rollout import bring_up
from officeops.site import Site, open_site
from tests.support.browser import Person, chromium, person
from tests.support.control_plane import Channel, Plane, listening
from tests.support.paths import open_folder
from tests.support.releases import build, roll_out
from tests.support.stack import git, make_repository, make_stack_site

PICTURES = "OFFICEOPS_PICTURES"  # folder for screenshots; none are taken without it
_PEOPLE = """
contacts:
  - {role: system_administrator, name: 佐藤 恵}
  - {role: database_administrator, name: J. Meyer}
"""


@dataclass(frozen=True)
class Office:
    """What runs: `first` is the release to go back to, `second` the one that serves."""

    plane: Plane
    first: str
    second: str

    @property
    def site(self) -> Site:
        return self.plane.site

    def deployments(self) -> dict[str, DeploymentResponse]:
        """By the name of the function that is the flow."""
        with self.plane.client() as client:
            return {str(one.entrypoint).rsplit(":", 1)[1]: one for one in client.read_deployments()}

    def start(self, flow: str, **options: object) -> FlowRun:
        """A run for the worker, by the name of the flow's function."""
        deployment = self.deployments()[flow]
        with self.plane.client() as client:
            return client.create_flow_run_from_deployment(deployment.id, parameters={"options": options})

    def runs(self, flow: str) -> list[FlowRun]:
        """The newest run of a deployment, if there is one."""
        deployment = self.deployments()[flow]
        with self.plane.client() as client:
            return client.read_flow_runs(
                deployment_filter=DeploymentFilter(id={"any_": [deployment.id]}), sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1
            )

    def artifact(self, run: UUID, name: str) -> UUID:
        """The newest artifact of a run whose key begins with `name`."""
        key = f"{name}-{self.site.name.replace('_', '-')}"
        with self.plane.client() as client:
            found = client.read_artifacts(flow_run_filter=FlowRunFilter(id={"any_": [run]}), sort=ArtifactSort.CREATED_DESC)
        return next(one.id for one in found if one.key == key)


@pytest.fixture(scope="session")
def office() -> Iterator[Office]:
    """The office for all modules, which leave `second` serving; gone afterwards. Skips, or fails, before anything is started when there is no browser."""
    chromium()
    with open_folder() as folder, listening() as channel:
        site = _site(folder, channel)
        try:
            first = build(site, "HEAD")
            with site.locked("a test"):
                bring_up(site, first)
            (site.config.settings.officeops_app / "frontend" / "robots.txt").write_text("User-agent: *\n")
            git(site.config.settings.officeops_app, "add", ".")
            git(site.config.settings.officeops_app, "commit", "--quiet", "--message=For robots")
            second = build(site, "HEAD")
            roll_out(site, second, why="for robots")
            started = control_plane.up(site.config)
            yield Office(Plane(site, channel, started.changes, started.parts), first.sha, second.sha)
        finally:
            control_plane.down(site.config)
            site.stack.down()


def _site(folder: Path, channel: Channel) -> Site:
    """The project's own runbook, with short waits, people, and an approval for rollbacks."""
    site = make_stack_site(folder / "office", make_repository(folder), NOTIFY_URLS=f"http://{channel.url}/webhook", TZ="Asia/Tokyo")
    file = site.config.folder / "runbook.yaml"
    text = file.read_text().partition("\ncontacts:")[0]
    for key, other in (
        ("bake_seconds: 60", "bake_seconds: 2"),
        ("stream_seconds: 300", "stream_seconds: 20"),
        ("actions: [restore,", "actions: [rollback, restore,"),
    ):
        assert key in text
        text = text.replace(key, other)
    file.write_text(text + _PEOPLE)
    return open_site(site.config.folder)


@pytest.fixture(scope="module")
def somebody(office: Office) -> Iterator[Person]:
    """Logged in at the office's UI."""
    settings = office.site.config.settings
    folder = os.environ.get(PICTURES)
    with person(control_plane.front_door_url(settings), pictures=Path(folder) if folder else None) as found:
        found.logs_in(settings.prefect_auth_string.get_secret_value())
        yield found
