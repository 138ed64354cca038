"""The Docker Engine: the one place that runs the `docker` command, and what the SDK is asked."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from officeops.errors import OfficeOpsError
from officeops.process import Command, CommandError, Completed, run

if TYPE_CHECKING:
    from docker import APIClient

PROJECT, SERVICE, COMPOSE_ONE_OFF = "com.docker.compose.project", "com.docker.compose.service", "com.docker.compose.oneoff"
_ANSWER_S = 60
_DOWN = re.compile(r"cannot connect to the docker daemon|error during connect|is the docker daemon running", re.IGNORECASE)
_PORT = re.compile(
    r"[Bb]ind for \S*?:(\d+) failed: port is already allocated"
    r"|listen tcp\S* \S*?:(\d+): bind: address already in use"
    r"|failed to bind host port for [\d.\[\]:]*?:(\d+):\S+: address already in use"
)
_IMAGE = re.compile(r"pull access denied for (\S+?),|No such image: (\S+)|manifest for (\S+) not found|Unable to find image '([^']+)'")
_NO_REGISTRY = re.compile(r"failed to do request|dial tcp|TLS handshake|proxyconnect|no such host|Client\.Timeout", re.IGNORECASE)
_FILE = re.compile(r"validating |yaml: |invalid compose project|additional properties|is not a valid|invalid interpolation", re.IGNORECASE)


class EngineDownError(OfficeOpsError):
    """The Docker Engine does not answer."""


class MissingImageError(OfficeOpsError):
    """An image is not on this host and could not be fetched."""


class PortTakenError(OfficeOpsError):
    """A port that a container publishes belongs to somebody else."""


class ComposeFileError(OfficeOpsError):
    """Compose does not understand the file."""

    exit_status = 2


class Engine:
    """One engine: that of DOCKER_HOST, else this host's own."""

    @property
    def address(self) -> str:
        """Where it is asked."""
        return os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"

    @cached_property
    def api(self) -> APIClient:
        """The SDK's client; its import takes a fifth of a second."""
        from docker.api.client import APIClient
        from docker.tls import TLSConfig

        folder = os.environ.get("DOCKER_CERT_PATH")
        tls = None
        if os.environ.get("DOCKER_TLS_VERIFY") and folder:
            tls = TLSConfig(client_cert=(f"{folder}/cert.pem", f"{folder}/key.pem"), ca_cert=f"{folder}/ca.pem", verify=True)
        with self.explained():
            return APIClient(self.address, version="auto", timeout=_ANSWER_S, tls=tls or False)

    def run(self, command: Command, *, timeout: float) -> Completed:
        """Runs a short `docker` command to its end. Raises what `explained` says."""
        with self.explained():
            return run(command, timeout=timeout)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Errors of the block, of the command and of the SDK alike, in the words of this program."""
        import requests

        try:
            yield
        except CommandError as error:
            raise explanation(error.stderr, self.address) or error from error
        except requests.ConnectionError as error:
            raise self._down(str(error)) from error
        except Exception as error:
            from docker.errors import APIError, DockerException

            if isinstance(error, APIError):
                said = str(error.explanation or error)
                raise explanation(said, self.address) or OfficeOpsError(f"The Docker Engine refused: {said}.") from error
            if isinstance(error, DockerException):
                raise self._down(str(error)) from error
            raise

    def _down(self, said: str) -> EngineDownError:
        found = explanation("cannot connect to the docker daemon", self.address)
        assert isinstance(found, EngineDownError)
        if "Permission denied" in said:
            found.todo = "This user may not use it: run as root, or add the user to the group `docker`."
        return found

    def containers(self, labels: Mapping[str, str | None], *, running_only: bool = False) -> list[dict[str, Any]]:
        """Summaries of the containers with all these labels (None: with any value)."""
        wanted = [key if value is None else f"{key}={value}" for key, value in labels.items()]
        with self.explained():
            return list(self.api.containers(all=not running_only, filters={"label": wanted}))

    def inspect(self, container: str) -> dict[str, Any] | None:
        """Everything about a container; None when it is gone."""
        from docker.errors import NotFound

        with self.explained():
            try:
                found = self.api.inspect_container(container)
            except NotFound:
                return None
        return dict(found)

    def has_image(self, reference: str) -> bool:
        """Whether the image is on this host."""
        from docker.errors import ImageNotFound

        with self.explained():
            try:
                self.api.inspect_image(reference)
            except ImageNotFound:
                return False
        return True

    def kill(self, labels: Mapping[str, str]) -> list[str]:
        """Ends and removes the containers with these labels. Returns their names."""
        from docker.errors import NotFound

        names = []
        for found in self.containers(labels):
            with self.explained():
                try:
                    self.api.remove_container(found["Id"], force=True)
                except NotFound:
                    continue
            names.append(str(found["Names"][0]).lstrip("/"))
        return names

    @contextmanager
    def watching(self, labels: Mapping[str, str]) -> Iterator[Callable[[float], None]]:
        """Gives a function that waits until something happens to a container with these labels, at most so many seconds."""
        happened = threading.Event()
        with self.explained():
            stream = self.api.events(filters={"type": "container", "label": [f"{key}={value}" for key, value in labels.items()]})
        listener = threading.Thread(target=_listen, args=(stream, happened), daemon=True)
        listener.start()

        def wait(seconds: float) -> None:
            happened.wait(seconds)
            happened.clear()

        try:
            yield wait
        finally:
            stream.close()


def _listen(stream: Iterator[bytes], happened: threading.Event) -> None:
    with suppress(Exception):  # the stream was closed, or the engine is gone: whoever waits asks it again anyway
        for _event in stream:
            happened.set()


def explanation(said: str, address: str) -> OfficeOpsError | None:
    """What the words of Docker and Compose mean, as far as a person can act on it; None for all else."""
    if _DOWN.search(said):
        return EngineDownError(
            f"The Docker Engine at {address} does not answer.",
            state="What runs goes on running, if the engine does; nothing more was changed.",
            todo="Start it (`systemctl start docker`), or correct DOCKER_HOST; then the same command again.",
        )
    if found := _PORT.search(said):
        port = next(part for part in found.groups() if part)
        return PortTakenError(
            f"Port {port} is in use by another program or container, so nothing could be published there.",
            state="The service that needs it does not run; the others are as they were.",
            todo="End what holds it (`ss -ltnp`, `docker ps`), or set another port in .env; then `officeops up` again.",
        )
    if found := _IMAGE.search(said):
        image = next(part for part in found.groups() if part)
        return _missing_image(image)
    if "compose" in said.lower() and "not a docker command" in said:
        return OfficeOpsError("`docker compose` is not installed.", todo="Install Docker Compose v2.")
    if _NO_REGISTRY.search(said):
        return MissingImageError(
            f"An image could not be fetched: {said.splitlines()[-1] if said else 'the registry does not answer'}",
            state="What ran before goes on running.",
            todo="Check this host's network, or load the image with `docker load`.",
        )
    if _FILE.search(said):
        return ComposeFileError(
            f"The Compose file is wrong: {said}", state="Nothing was changed.", todo="Correct it, commit, and try again."
        )
    return None


def _missing_image(image: str) -> MissingImageError:
    return MissingImageError(
        f"The image {image} is not on this host and could not be fetched.",
        state="What ran before goes on running.",
        todo=f"Check the name (the key in .env that ends in _IMAGE), log in to its registry, or bring it with `docker load`; then `docker image inspect {image}`.",
    )
