"""Servers that tests share, started when the first test needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from officeops.postgres import databases
from officeops.site import Site
from tests.support.control_plane import Plane, running_plane
from tests.support.engine import MARKER, Census, Engine, found_engine
from tests.support.paths import open_folder
from tests.support.postgres import Running, running_postgres
from tests.support.s3 import S3Endpoint, running_s3
from tests.support.site import make_site
from tests.support.stack import RunningStack, make_repository, running_compose, running_local

_LONGEST = ("compose", "stack", "releases", "control_plane", "watched", "e2e")  # groups of tests by the time that they take


def pytest_configure(config: pytest.Config) -> None:
    """Keeps count of the tests that need a Docker Engine."""
    config.addinivalue_line("markers", f"{MARKER}: needs a real Docker Engine; said by itself of what asks for the fixture `engine`")
    config.addinivalue_line("markers", "light: releases whose backend starts in a moment will do")
    config.pluginmanager.register(Census(), "engine-census")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that share a server are sent to the same process: a pytest in which that silently stopped working is refused. A group that takes
    minutes and began last would be waited for alone, so the longest come first."""
    items.sort(key=lambda item: _LONGEST.index(group) if (group := _group(item)) in _LONGEST else len(_LONGEST))
    lost = [item.nodeid for item in items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid.rpartition("]")[2]]
    if getattr(config.option, "loadgroup", False) and lost:
        pytest.exit(f"pytest-xdist does not see the groups of {len(lost)} tests, such as {lost[0]}.", returncode=3)


def _group(item: pytest.Item) -> str:
    marker = item.get_closest_marker("xdist_group")
    return str(marker.args[0]) if marker else ""


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A real Docker Engine with stand-in images; the environment names it from now on."""
    yield from found_engine()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Running]:
    """One PostgreSQL server for the session."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Endpoint]:
    """One S3 API for the session."""
    with running_s3() as endpoint:
        yield endpoint


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every account may enter."""
    with open_folder() as found:
        yield found


@pytest.fixture
def database(postgres: Running) -> Iterator[str]:
    """A new, empty database; its relatives are dropped with it."""
    name = f"office_{uuid4().hex[:8]}"
    with databases.maintenance(postgres.address(), application="test") as connection:
        databases.create_like(connection, name, None)
        yield name
        for other in databases.names(connection):
            if other.startswith(name):
                databases.drop(connection, other)


@pytest.fixture
def new_site(folder: Path, postgres: Running, database: str) -> Callable[..., Site]:
    """Makes the test's site; keyword arguments are keys of .env."""
    return lambda name=database, **env: make_site(folder, postgres, name, **env)


@pytest.fixture
def run_sql(postgres: Running, database: str) -> Callable[..., list[tuple[object, ...]]]:
    """Runs SQL in the test's database (or another) and returns the rows."""
    from officeops.postgres.connect import connected

    def run(sql: str, name: str = database) -> list[tuple[object, ...]]:
        with connected(replace(postgres.address(), database=name), application="test") as connection:
            connection.execute("SET search_path TO public")
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture(scope="session")
def plane(postgres: Running) -> Iterator[Plane]:
    """One control plane for the session; its site backs up a small office."""
    with running_plane(postgres, "control_plane_office") as found:
        yield found


def _impatient(runbook: str) -> str:
    """A service that hangs is ended soon."""
    return runbook.replace("stop_grace: 40", "stop_grace: 2")


@pytest.fixture(scope="session")
def watched() -> Iterator[RunningStack]:
    """A whole embedded stack that is watched and mended. Tests leave it as they found it."""
    with open_folder() as folder, running_local(make_repository(folder), edit=_impatient) as running:
        yield running


@pytest.fixture(scope="session")
def repository() -> Iterator[Path]:
    """A git repository with the application."""
    with open_folder() as folder:
        yield make_repository(folder)


@pytest.fixture(scope="session")
def compose(repository: Path, engine: Engine) -> Iterator[RunningStack]:
    """The Compose stack on a real engine, up. Tests leave it as they found it."""
    with running_compose(repository, engine) as running:
        yield running
