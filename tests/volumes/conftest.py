"""Sites with volumes, whose services do not run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from officeops.site import Site
from tests.support.volumes import make_volume_site


@pytest.fixture
def new_site(folder: Path) -> Callable[..., Site]:
    """Makes the test's site; keyword arguments are keys of .env."""
    return lambda **env: make_volume_site(folder, **env)


@pytest.fixture
def site(new_site: Callable[..., Site]) -> Site:
    """One with the usual settings."""
    return new_site()
