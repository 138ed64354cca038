"""The Docker Engine: the one place that runs the `docker` command, and what the SDK is asked."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from officeops.errors import OfficeOpsError
from officeops.process import Command, CommandError, Completed, run
from officeops.stack.compose.commands import RUN

if TYPE_CHECKING:
    from docker import APIClient

PROJECT, SERVICE, COMPOSE_ONE_OFF = "com.docker.compose.project", "com.docker.compose.service", "com.docker.compose.oneoff"
_ANSWER_S = 60
_BUSY = 409
ENGINE_FAILED = 125  # as `docker run` says of everything that is not the program's own doing
_DOWN = re.compile(  # the last one is what this program itself says, in the child process of `execute`
    r"cannot connect to the docker daemon|error during connect|is the docker daemon running|the docker engine at \S+ does not answer",
    re.IGNORECASE,
)
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
        except Exception as error:
            from docker.errors import APIError, DockerException

            if isinstance(error, APIError):
                said = str(error.explanation or error)
                raise explanation(said, self.address) or OfficeOpsError(f"The Docker Engine refused: {said}.") from error
            if isinstance(error, DockerException | requests.RequestException):  # the latter also in the middle of an answer
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

    def data_folders(self) -> list[Path]:
        """Where it keeps images and volumes, as far as that can be seen from here: not on another host, nor in the worker's container."""
        with self.explained():
            folder = Path(self.api.info()["DockerRootDir"])
        return [folder] if folder.is_dir() else []

    def cautions(self) -> list[str]:
        """What of its own configuration endangers what runs on it, for people."""
        with self.explained():
            found = self.api.info()
        if found.get("LiveRestoreEnabled") or found.get("Swarm", {}).get("LocalNodeState") == "active":  # a swarm cannot have it
            return []
        return ['the engine ends every container when it is restarted or dies: put `"live-restore": true` into its daemon.json']

    def has_image(self, reference: str) -> bool:
        """Whether the image is on this host."""
        return self.image(reference) is not None

    def image(self, reference: str) -> str | None:
        """The id of an image; None when it is not on this host."""
        from docker.errors import ImageNotFound

        with self.explained():
            try:
                return str(self.api.inspect_image(reference)["Id"])
            except ImageNotFound:
                return None

    def inside(self, container: str, argv: Sequence[str]) -> str:
        """What a short program in a running container prints. Raises OfficeOpsError with its words when it fails."""
        with self.explained():
            made = self.api.exec_create(container, list(argv))
            said = bytes(self.api.exec_start(made["Id"])).decode(errors="replace").strip()
            status = int(self.api.exec_inspect(made["Id"])["ExitCode"])
        if status:
            raise OfficeOpsError(f"{' '.join(argv)} failed with status {status}: {said or 'it said nothing'}.")
        return said

    def stop(self, containers: Sequence[str], grace_s: int) -> None:
        """Asks them to stop, all at once, and ends each that has not after so many seconds. One that is gone has stopped."""
        from docker.errors import NotFound

        def one(container: str) -> None:
            with self.explained(), suppress(NotFound):
                self.api.stop(container, timeout=grace_s)

        if containers:
            with ThreadPoolExecutor(len(containers)) as pool:
                list(pool.map(one, containers))

    def remove(self, container: str) -> bool:
        """It is gone, with its volumes that have no name. Says whether it was there."""
        from docker.errors import APIError, NotFound

        with self.explained():
            try:
                self.api.remove_container(container, v=True, force=True)
            except NotFound:
                return False
            except APIError as error:
                if error.status_code != _BUSY or "in progress" not in str(error.explanation):
                    raise
                return False  # whoever made it with --rm is taking it away
        return True

    def remove_image(self, reference: str) -> None:
        """The image has that name no more, and is gone if it had no other. No error when there is none."""
        from docker.errors import ImageNotFound

        with self.explained(), suppress(ImageNotFound):
            self.api.remove_image(reference)

    def kill(self, labels: Mapping[str, str]) -> list[str]:
        """Ends and removes the containers with these labels. Returns their names."""
        found = [(one["Id"], str(one["Names"][0]).lstrip("/")) for one in self.containers(labels)]
        return [name for container, name in found if self.remove(container)]

    def ended_with_us(self, command: Command) -> Command:
        """A `docker run` whose container ends when the command does, also by force."""
        program = next(part.removeprefix("--entrypoint=") for part in command.argv if part.startswith("--entrypoint="))
        run = next(part.rpartition("=")[2] for part in command.argv if part.startswith(f"--label={RUN}="))
        return replace(self.asked(command), title=program, on_kill=lambda: self.kill_run(run))

    def asked(self, command: Command) -> Command:
        """A command that goes to the engine that the SDK asks, and with that one's failures told as such."""
        address = self.address

        def explain(status: int, said: str) -> OfficeOpsError | None:
            return explanation(said, address) if status == ENGINE_FAILED else None

        return replace(command, env={**command.env, "DOCKER_HOST": address}, explain=explain)

    def kill_run(self, run: str) -> None:
        """Ends the one-off of that run."""
        self.kill({RUN: run})

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
