"""Releases that differ in their migrations."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.migrations import MigratingStack
from tests.support.postgres import Running


@pytest.fixture
def office(folder: Path, postgres: Running, database: str) -> MigratingStack:
    """A stack whose database is new and empty."""
    return MigratingStack(folder / "releases", postgres.address(database))
