"""Containers of the stand-in images, gone after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import docker
import pytest
from docker.models.containers import Container

from tests.support.engine import Engine


@dataclass
class Run:
    """A container that was started."""

    container: Container

    def sh(self, script: str, **environment: str) -> tuple[int, str]:
        """Runs a shell script inside, as root; the exit status, and everything that it printed."""
        status, printed = self.container.exec_run(["sh", "-c", script], environment=environment, user="root")
        return status, printed.decode().strip()

    def stop(self) -> int:
        """As `docker stop` does, and no patience: the exit status (137 when it had to be killed)."""
        self.container.stop(timeout=10)
        return int(self.container.wait()["StatusCode"])

    def logs(self) -> str:
        """What it printed so far."""
        return str(self.container.logs().decode())


Start = Callable[..., Run]


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[docker.DockerClient]:
    """The Docker SDK's client."""
    with closing(engine.client()) as found:
        yield found


@pytest.fixture(scope="module")
def keep(client: docker.DockerClient) -> Iterator[Start]:
    """Starts containers that the tests of a file share: keep(image, command=None, **options of the SDK)."""
    with ExitStack() as stack:
        yield _starter(client, stack)


@pytest.fixture
def start(client: docker.DockerClient, volume: str) -> Iterator[Start]:
    """The same for one test; its containers go before its volume does."""
    with ExitStack() as stack:
        yield _starter(client, stack)


def _starter(client: docker.DockerClient, stack: ExitStack) -> Start:
    def start(image: str, command: list[str] | None = None, **options: Any) -> Run:
        container = client.containers.create(image, command, **options)
        stack.callback(container.remove, v=True, force=True)
        container.start()
        return Run(container)

    return start


@pytest.fixture
def volume(client: docker.DockerClient) -> Iterator[str]:
    """The name of a new, empty volume."""
    found = client.volumes.create(f"officeops-test-{uuid4().hex[:8]}")
    yield found.name
    found.remove(force=True)
