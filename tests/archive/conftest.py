"""An office with old talks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from officeops.site import Site
from tests.support.archives import POLICY, TALKS, fill, runbook
from tests.support.postgres import Running
from tests.support.site import make_site


@pytest.fixture
def site_of(folder: Path, postgres: Running, database: str) -> Callable[..., Site]:
    """Makes the test's site with archive policies; keyword arguments are keys of .env."""
    return lambda *policies, **env: make_site(folder, postgres, database, runbook(*policies), **env)


@pytest.fixture
def site(site_of: Callable[..., Site], run_sql: Callable[..., object]) -> Site:
    """Twenty old talks and five young ones."""
    run_sql(TALKS)
    fill(run_sql)
    return site_of(POLICY)
