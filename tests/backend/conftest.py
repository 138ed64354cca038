"""One running office for all tests of the backend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from officeops.postgres import databases
from officeops.stack.port import DatabaseAddress
from tests.support.backend import Office, alembic, python, running_office
from tests.support.model import Model, running_model
from tests.support.paths import open_folder
from tests.support.postgres import Running


@pytest.fixture
def address(postgres: Running, database: str) -> DatabaseAddress:
    """A new, empty database."""
    return postgres.address(database)


@pytest.fixture(scope="session")
def _shared(postgres: Running) -> Iterator[Office]:
    name = f"shared_{uuid4().hex[:8]}"
    address = replace(postgres.address(), database=name)
    with databases.maintenance(postgres.address(), application="test") as connection:
        databases.create_like(connection, name, None)
        alembic("upgrade", "head", address=address)
        assert python("-m", "app.seed", "--messages", "60", address=address).status == 0
        with open_folder() as folder, running_model() as model, running_office(address, model, folder) as office:
            yield office
        databases.drop(connection, name)


@pytest.fixture
def office(_shared: Office) -> Office:
    """The office, with a model that behaves."""
    model, fresh = _shared.model, Model()
    model.script, model.status, model.tags = fresh.script, fresh.status, fresh.tags
    model.asked.clear()
    return _shared
