"""A running stack that a test breaks: well before and after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.clinic import Clinic, forget, opened
from tests.support.control_plane import listening
from tests.support.stack import RunningStack

STACKS = [
    pytest.param("watched", id="local", marks=pytest.mark.xdist_group("watched")),
    pytest.param("compose", id="compose", marks=pytest.mark.xdist_group("compose")),
]


@pytest.fixture
def clinic(watched: RunningStack) -> Iterator[Clinic]:
    """On the embedded stack."""
    yield from _clinic(watched)


@pytest.fixture(params=STACKS)
def either(request: pytest.FixtureRequest) -> Iterator[Clinic]:
    """On each stack."""
    yield from _clinic(request.getfixturevalue(request.param))


def _clinic(running: RunningStack) -> Iterator[Clinic]:
    with listening() as channel:
        made = opened(running, channel)
        try:
            yield made
        finally:
            forget(made.site)
            if any(one.health != "healthy" for one in running.stack.services()):
                running.stack.up(running.release)
