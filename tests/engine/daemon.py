"""A Docker Engine of the tests' own, in one folder: its data, socket, log and process id. A user's engine is not touched."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors
import psutil
import requests

from officeops.process import CommandError
from tests.engine.home import EngineError, connect, do, home, install, program
from tests.engine.network import network_of

_START_S = 60.0
_STOP_S = 60.0
_GRACE_S = 10
_LONGEST_SOCKET = 107  # bytes; a limit of the kernel


@dataclass(frozen=True)
class Daemon:
    """The engine in `folder`, running or not."""

    folder: Path

    @property
    def host(self) -> str:
        """Its DOCKER_HOST."""
        return f"unix://{self.folder / 'engine.sock'}"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "dockerd.log"

    @property
    def pidfile(self) -> Path:
        """Its process id."""
        return self.folder / "dockerd.pid"

    def process(self) -> psutil.Process | None:
        """The engine's process."""
        return _process(self.pidfile, f"--pidfile={self.pidfile}")

    def start(self) -> None:
        """Starts it and waits until it answers. Raises EngineError."""
        _check_socket(self.folder / "engine.sock")
        if os.geteuid() != 0:
            raise EngineError("Only root can start an engine; or start one yourself, and say where in DOCKER_HOST.")
        install(dockerd="docker.io", docker="docker.io", iptables="iptables", ip="iproute2")
        self._clear()
        (self.folder / "daemon.json").write_text("{}\n")  # the machine's own file is for the machine's own engine
        network = network_of(self.folder)
        network.up()
        with self.log.open("ab") as log:
            started = subprocess.Popen(  # it outlives us, unlike everything that officeops.process starts
                [str(program("dockerd")), *self._options(), *network.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            )  # fmt: skip
        deadline = time.monotonic() + _START_S
        while not answers(self.host):
            if started.poll() is not None or time.monotonic() > deadline:
                raise EngineError(f"The engine did not start. The end of {self.log}:\n{self._last_lines()}")
            time.sleep(0.1)

    def stop(self) -> bool:
        """Stops what runs in it and takes it away; then ends it and waits. Images and build cache stay. Says whether it ran."""
        process = self.process()
        if process is not None:
            with suppress(docker.errors.DockerException, requests.RequestException):  # it hangs, but can still be ended
                self._empty()
            if not _end(process, _STOP_S):
                raise EngineError(f"The engine did not stop within {_STOP_S:.0f} s and was killed. See {self.log}.")
            self._unmount()
        if (self.folder / "addresses").exists() and os.geteuid() == 0:
            network_of(self.folder).down()
        return process is not None

    def _options(self) -> list[str]:
        return [
            f"--config-file={self.folder / 'daemon.json'}",
            f"--data-root={self.folder / 'data'}",
            f"--exec-root={self.folder / 'exec'}",
            f"--host={self.host}",
            f"--pidfile={self.pidfile}",
        ]

    def _empty(self) -> None:
        with closing(connect(self.host)) as client, ThreadPoolExecutor(8) as pool:
            list(pool.map(_remove, client.containers.list(all=True)))
            client.networks.prune()
            for volume in client.volumes.list():
                volume.remove(force=True)
            client.images.prune()

    def _unmount(self) -> None:
        """dockerd mounts its data folder onto itself and leaves it so; then the folder could not be removed."""
        data = str(self.folder / "data")
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            root, point = line.split()[3:5]
            if point == data and root != "/":  # a disk of the user's own is left where it is
                do("umount", "--lazy", data)

    def _clear(self) -> None:
        """Takes away what a killed engine left: a dockerd believes any living process of the number in these files to be its own."""
        containerd = self.folder / "exec" / "containerd" / "containerd.pid"
        orphan = _process(containerd, str(containerd.with_suffix(".toml")))
        if orphan is not None:
            _end(orphan, _GRACE_S)
        containerd.unlink(missing_ok=True)
        self.pidfile.unlink(missing_ok=True)

    def _last_lines(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def own() -> Daemon:
    """The tests' own engine."""
    return Daemon(home())


def callers_host() -> str:
    """The engine that the caller's environment names: DOCKER_HOST, the docker command's context, or the usual socket."""
    if named := os.environ.get("DOCKER_HOST"):
        return named
    if program("docker") is not None:
        with suppress(CommandError):
            return do("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
    return "unix:///var/run/docker.sock"


def reachable() -> str | None:
    """The DOCKER_HOST of the engine to use: the caller's, else our own. None: there is none."""
    candidates: list[Callable[[], str]] = [callers_host, lambda: own().host]
    return next((host for candidate in candidates if answers(host := candidate())), None)


def answers(host: str) -> bool:
    """Whether an engine answers there."""
    with suppress(docker.errors.DockerException, requests.RequestException, OSError), closing(connect(host, timeout=5)) as client:
        return bool(client.ping())
    return False


def _process(pidfile: Path, argument: str) -> psutil.Process | None:
    """The living process of the number in that file, if its command line has `argument`."""
    with suppress(OSError, ValueError, psutil.Error):
        found = psutil.Process(int(pidfile.read_text()))
        if _lives(found) and argument in found.cmdline():
            return found
    return None


def _lives(process: psutil.Process) -> bool:
    """Not so when only its parent has not noticed its end yet."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _end(process: psutil.Process, seconds: float) -> bool:
    """Asks it to end and waits; kills it when that took too long, and says no."""
    with suppress(psutil.NoSuchProcess):
        process.terminate()
    deadline = time.monotonic() + seconds
    while _lives(process):
        if time.monotonic() > deadline:
            process.kill()
            return False
        time.sleep(0.05)
    return True


def _remove(container: object) -> None:
    with suppress(docker.errors.APIError):  # it went away by itself
        container.stop(timeout=_GRACE_S)  # type: ignore[attr-defined]
        container.remove(v=True, force=True)  # type: ignore[attr-defined]


def _check_socket(path: Path) -> None:
    if len(str(path).encode()) > _LONGEST_SOCKET:
        raise EngineError(f"{path} is too long for a socket: name a shorter folder in OFFICEOPS_ENGINE_HOME.")
