"""One running stack for all tests of the protocol, and new ones that do not run yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from officeops.site import Site
from tests.support.stack import RunningStack, make_stack_site, running_local

STACKS = ["local", pytest.param("compose", marks=pytest.mark.xdist_group("compose"))]


@pytest.fixture(scope="session")
def local(repository: Path) -> Iterator[RunningStack]:
    """The embedded stack, up."""
    with running_local(repository) as running:
        yield running


@pytest.fixture(scope="session", params=STACKS)
def shared(request: pytest.FixtureRequest) -> RunningStack:
    """A stack that is up. Tests leave it as they found it."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, RunningStack)
    return found


@pytest.fixture
def running(shared: RunningStack) -> RunningStack:
    """The same, up again if a test before left it otherwise."""
    if any(one.health != "healthy" for one in shared.stack.services()):
        shared.stack.up(shared.release)
    return shared


@pytest.fixture
def new_site(folder: Path, repository: Path, local: RunningStack) -> Callable[..., Site]:
    """Makes an embedded site of the same application that does not run; packages are those that are installed already."""

    def make(name: str = "office", **env: str) -> Site:
        site = make_stack_site(folder / name, repository, **env)
        site.home.mkdir(parents=True, exist_ok=True)
        (site.home / "venvs").symlink_to(local.site.home / "venvs")
        return site

    return make
