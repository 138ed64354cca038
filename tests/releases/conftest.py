"""One running stack for all tests of releases, with two good releases built; tests leave the first of them serving."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from officeops.releases.models import pull_models
from officeops.site import Site
from officeops.stack.port import Release
from tests.releases.applications import commit_variant
from tests.support.engine import Engine
from tests.support.migrations import MigratingStack
from tests.support.paths import open_folder
from tests.support.postgres import Running
from tests.support.releases import back_to_start, build, quick, require_sound
from tests.support.stack import RunningStack, make_repository, running_compose, running_local

STACKS = [
    pytest.param("local", marks=pytest.mark.xdist_group("releases")),
    pytest.param("compose", marks=pytest.mark.xdist_group("compose")),
]


@dataclass
class Office:
    """A running stack whose releases take over quickly. `first` serves at the begin of each test; `second` is another good one."""

    running: RunningStack
    repository: Path
    site: Site
    first: Release
    second: Release
    base: str = "main"
    _variants: dict[str, str] = field(default_factory=dict)
    _light: Office | None = None

    def variant(self, name: str) -> str:
        """The commit of a release that misbehaves."""
        if name not in self._variants:
            self._variants[name] = commit_variant(self.repository, name, self.base)
        return self._variants[name]

    def light(self) -> Office:
        """The same stack, with releases whose backend starts in a moment: for tests of how releases take over, not of what they are."""
        if self._light is None:
            base = commit_variant(self.repository, "light")
            second = commit_variant(self.repository, "good", base)
            self._light = Office(self.running, self.repository, self.site, build(self.site, base), build(self.site, second), base)
        return self._light

    def with_releases(self, **changed: object) -> Site:
        """The same stack with another chapter on releases in its runbook."""
        return quick(self.running.site, **changed)


def opened(running: RunningStack, repository: Path) -> Office:
    """With its releases built, and the first one recorded."""
    runbook = running.site.config.folder / "runbook.yaml"
    runbook.write_text(runbook.read_text().replace("bake_seconds: 60", "bake_seconds: 1").replace("ready_checks: 3", "ready_checks: 2"))
    site = quick(running.site)
    running.stack.seed(running.release)
    pull_models(site, running.release)
    second = build(site, commit_variant(repository, "good"))
    first, deployed = build(site, running.release.sha), site.stack.deployed()
    assert deployed is not None
    site.stack.record(replace(deployed, settings=first.settings))  # it was started with today's, as a deploy does
    return Office(running, repository, site, first, second)


@pytest.fixture(scope="session")
def local_office() -> Iterator[Office]:
    """On the embedded stack."""
    with open_folder() as folder:
        repository = make_repository(folder)
        with running_local(repository) as running:
            yield opened(running, repository)


@pytest.fixture(scope="session")
def compose_office(engine: Engine) -> Iterator[Office]:
    """On a real Docker Engine."""
    with open_folder() as folder:
        repository = make_repository(folder)
        with running_compose(repository, engine) as running:
            yield opened(running, repository)


@pytest.fixture(params=STACKS)
def office(request: pytest.FixtureRequest) -> Iterator[Office]:
    """On each stack. Before and after the test the first release serves and everything is sound."""
    found: Office = request.getfixturevalue(f"{request.param}_office")
    if request.node.get_closest_marker("light"):
        found = found.light()
    found.first = build(found.site, found.first.sha)  # it is there, unless tests before needed others
    back_to_start(found.site, found.first)
    require_sound(found.site, found.first.sha)
    found.second = build(found.site, found.second.sha)
    yield found
    back_to_start(found.site, found.first)
    require_sound(found.site, found.first.sha)


@pytest.fixture
def migrating(folder: Path, postgres: Running, database: str) -> MigratingStack:
    """Of a stack what migrations need, with a database that is new and empty."""
    return MigratingStack(folder / "releases", postgres.address(database))


Roll = Callable[[Site, Release], object]
