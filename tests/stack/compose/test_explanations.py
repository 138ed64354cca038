"""What Docker and Compose print, as it was printed by them, and what people are told."""

from __future__ import annotations

import pytest

from officeops.errors import OfficeOpsError
from officeops.stack.compose.engine import ComposeFileError, EngineDownError, MissingImageError, PortTakenError, explanation

DOWN = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
PORT = (
    "Error response from daemon: driver failed programming external connectivity on endpoint office-caddy-1 (0a1b): "
    "Bind for 0.0.0.0:8080 failed: port is already allocated"
)
PORT_OF_A_PROGRAM = (
    "Error response from daemon: driver failed programming external connectivity on endpoint office-caddy-1 (0a1b): "
    "Error starting userland proxy: listen tcp4 0.0.0.0:8443: bind: address already in use"
)
PORT_IN_SHORT = "failed to bind host port for 127.0.0.1:14200:172.18.0.3:4200/tcp: address already in use"
DENIED = "Error response from daemon: pull access denied for office/nothing, repository does not exist or may require 'docker login'"
NO_TAG = "Error response from daemon: manifest for postgres:99 not found: manifest unknown: manifest unknown"
NOT_HERE = "Error response from daemon: No such image: office-backend:0123"
OFFLINE = 'Error response from daemon: Get "https://registry.example/v2/": dial tcp: lookup registry.example: no such host'
UNKNOWN_KEY = "validating /srv/docker-compose.yml: services.backend additional properties 'imag' not allowed"
BAD_YAML = "yaml: line 3: mapping values are not allowed in this context"
OF_A_CHILD = "The Docker Engine at unix:///var/run/docker.sock does not answer. What runs goes on running"
NO_COMPOSE = "docker: 'compose' is not a docker command.\nSee 'docker --help'"


@pytest.mark.parametrize(
    ("said", "kind", "named"),
    [
        (DOWN, EngineDownError, "does not answer"),
        (OF_A_CHILD, EngineDownError, "does not answer"),
        (PORT, PortTakenError, "8080"),
        (PORT_OF_A_PROGRAM, PortTakenError, "8443"),
        (PORT_IN_SHORT, PortTakenError, "14200"),
        (DENIED, MissingImageError, "office/nothing"),
        (NO_TAG, MissingImageError, "postgres:99"),
        (NOT_HERE, MissingImageError, "office-backend:0123"),
        (OFFLINE, MissingImageError, "registry.example"),
        (UNKNOWN_KEY, ComposeFileError, "imag"),
        (BAD_YAML, ComposeFileError, "line 3"),
        (NO_COMPOSE, OfficeOpsError, "not installed"),
    ],
)
def test_what_happened_is_told_with_what_to_do(said: str, kind: type[OfficeOpsError], named: str) -> None:
    found = explanation(said, "unix:///var/run/docker.sock")
    assert type(found) is kind
    assert named in found.what
    assert found.todo


@pytest.mark.parametrize("said", ["", "could not connect to server: Connection refused", "pg_dump: error: permission denied for table x"])
def test_a_programs_own_words_are_not_taken_for_dockers(said: str) -> None:
    assert explanation(said, "unix:///var/run/docker.sock") is None
