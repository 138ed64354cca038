"""The control plane beside the Compose stack: the profile `prefect` of this project's docker-compose.yml, in the stack's own project.

Its worker is a container that manages the containers beside it. So that lock, ledger, backups and the paths that Compose is given mean
the same in it, it runs as the user who runs `officeops`, and sees this host's folders at the places where they are.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from deployments import worker_files
from deployments.control_plane import (
    POSTGRES,
    PROJECT,
    READY_S,
    SERVER,
    WATCHER,
    WORKER,
    Started,
    is_ready,
    prefect_home,
    said_changes,
    ui_url,
    wait_until,
)
from officeops.config import Config
from officeops.errors import OfficeOpsError, UsageError
from officeops.host import host_name
from officeops.progress import Meter
from officeops.settings import Settings
from officeops.stack.compose import commands, engine
from officeops.stack.compose.engine import Engine
from officeops.stack.local import ports
from officeops.stack.values import setting_values

_BOOTSTRAP = "prefect-bootstrap"
_SERVICES = (WATCHER, WORKER, _BOOTSTRAP, SERVER, POSTGRES, "prefect-volumes")
_BUILD_S, _UP_S, _APPLY_S = 1800.0, 3600.0, 300
_GRACE_S = 60
_LAST_WORDS = 20


def up(config: Config) -> Started:
    """Server and worker run, and what the project's files say is deployed."""
    docker, started = Engine(), Started()
    project = _project(config, docker)
    meter = Meter("prefect", 5, unit="parts")
    with started.part("image"):
        _make_folders(config)
        _build(docker, project, config.settings)
    meter.add()
    with started.part("database"):
        _start_database(docker, project, config.settings)
    meter.add()
    with started.part("server"):
        _start_server(docker, project, config.settings)
    meter.add()
    with started.part("deployments"):
        started.changes = _apply(docker, project)
    meter.add()
    with started.part("worker"):
        docker.run(project.command(*_up(WORKER)), timeout=_UP_S)
        docker.run(project.command(*_up(WATCHER)), timeout=_UP_S)
    meter.finish()
    _forget_older_images(docker, project, config.settings)
    return started


def down(config: Config) -> None:
    """Its containers are gone; its volumes stay. By the engine itself: for Compose the worker's mounts would have to be made up first, which
    needs an engine on this host."""
    docker = Engine()
    for service in _SERVICES:  # those that need others before these
        found = [one["Id"] for one in docker.containers({engine.PROJECT: config.runbook.stack, engine.SERVICE: service})]
        docker.stop(found, _GRACE_S)
        for container in found:
            docker.remove(container)


def image_tag(settings: Settings) -> str:
    """Names the worker's image by what it is made of."""
    files = [(PROJECT / "deployments" / name).read_bytes() for name in ("Dockerfile", "requirements.lock")]
    parts = [*files, settings.python_image.encode(), settings.docker_cli_image.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def _project(config: Config, docker: Engine) -> commands.Project:
    settings = config.settings
    socket = _socket(docker)
    environment: dict[str, str | SecretStr] = {key.upper(): value for key, value in setting_values(settings).items()}
    environment |= {
        "COMPOSE_PROJECT_NAME": config.runbook.stack,
        "OFFICEOPS_DIR": str(config.folder),
        "OFFICEOPS_PROJECT": str(PROJECT),
        "OFFICEOPS_UID": str(os.geteuid()),
        "OFFICEOPS_GID": str(os.getegid()),
        "DOCKER_HOST": docker.address,
        "DOCKER_SOCKET": str(socket),
        "DOCKER_GID": str(socket.stat().st_gid),
        "WORKER_TAG": image_tag(settings),
        "OFFICEOPS_HOST": host_name(settings),  # in a container the host's name is the container's
        "PREFECT_UI_URL": ui_url(settings),
    }
    # The application's folder and file of overrides, as the stack has them: all containers of a project come from one place.
    beside = PROJECT / "docker-compose.override.yml"
    files = [PROJECT / "docker-compose.yml", *([beside] if beside.exists() else []), worker_files.write(config)]
    return commands.Project(config.runbook.stack, settings.officeops_app, tuple(files), Path(os.devnull), environment, ("prefect",))


def _socket(docker: Engine) -> Path:
    """The engine's socket on this host. Raises UsageError when it is asked in another way."""
    path = Path(docker.address.removeprefix("unix://"))
    if not docker.address.startswith("unix://") or not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        if not docker.address.startswith("unix://"):
            raise UsageError(
                f"The worker's container needs the Docker Engine of this host by its socket; DOCKER_HOST is {docker.address}.",
                state="Nothing was started.",
                todo="Run `officeops` on the engine's own host, or `officeops up --no-control-plane`.",
            )
        with docker.explained():
            docker.api.ping()
    return path


def _make_folders(config: Config) -> None:
    """What is mounted is there, and ours: the engine would make it, for root."""
    prefect_home(config).mkdir(parents=True, exist_ok=True)
    for place in worker_files.places(config):
        if place.writable:
            place.path.mkdir(parents=True, exist_ok=True)


def _build(docker: Engine, project: commands.Project, settings: Settings) -> None:
    if not docker.has_image(_image(project, settings)):
        docker.run(project.command(*commands.build([SERVER]), DOCKER_BUILDKIT="1"), timeout=_BUILD_S)


def _start_database(docker: Engine, project: commands.Project, settings: Settings) -> None:
    if _container(docker, project, SERVER, running_only=True) is None:
        ports.require_free(settings.prefect_port, "PREFECT_PORT", SERVER)
    docker.run(project.command(*commands.up([POSTGRES])), timeout=_UP_S)


def _start_server(docker: Engine, project: commands.Project, settings: Settings) -> None:
    docker.run(project.command(*commands.up([SERVER])), timeout=_UP_S)

    def well() -> bool:
        found = _container(docker, project, SERVER)
        if found is None or found["State"] not in ("running", "created"):
            raise _unwell(docker, project, SERVER, "ended")
        return is_ready(settings)

    wait_until(well, lambda: _unwell(docker, project, SERVER, f"is not ready after {READY_S:.0f} s"))


def _apply(docker: Engine, project: commands.Project) -> list[str]:
    """`python -m deployments apply` in its one-shot container: what it says that it changed."""
    docker.run(project.command(*_up(_BOOTSTRAP, anew=True)), timeout=_UP_S)
    found = _container(docker, project, _BOOTSTRAP)
    assert found is not None, "Compose has just made it"
    with docker.explained():
        status = docker.api.wait(found["Id"], timeout=_APPLY_S)["StatusCode"]
        said = docker.api.logs(found["Id"], stdout=True, stderr=False).decode()
    if status:
        raise _unwell(docker, project, _BOOTSTRAP, f"failed with status {status}")
    return said_changes(said)


def _up(service: str, *, anew: bool = False) -> list[str]:
    """This service only, whatever it depends on runs already. anew: in a new container in any case."""
    return ["up", "--detach", "--no-build", "--no-deps", *(["--force-recreate"] if anew else []), service]


def _container(docker: Engine, project: commands.Project, service: str, *, running_only: bool = False) -> dict[str, Any] | None:
    labels = {engine.PROJECT: project.name, engine.SERVICE: service, engine.COMPOSE_ONE_OFF: "False"}
    return next(iter(docker.containers(labels, running_only=running_only)), None)


def _unwell(docker: Engine, project: commands.Project, service: str, how: str) -> OfficeOpsError:
    found, words = _container(docker, project, service), ""
    if found is not None:
        with docker.explained():
            words = docker.api.logs(found["Id"], tail=_LAST_WORDS).decode(errors="replace").strip()
    return OfficeOpsError(
        f"{service} {how}.",
        state=f"Its last words:\n{words}\n",
        todo=f"See `docker logs {project.name}-{service}-1`; then `officeops up` again.",
    )


def _image(project: commands.Project, settings: Settings) -> str:
    return f"{project.name}-worker:{image_tag(settings)}"


def _forget_older_images(docker: Engine, project: commands.Project, settings: Settings) -> None:
    """Those that an earlier lock file made; what a container still uses stays."""
    from docker.errors import APIError

    with docker.explained():
        known = [tag for image in docker.api.images(f"{project.name}-worker") for tag in image["RepoTags"] or []]
        for tag in known:
            if tag != _image(project, settings):
                try:
                    docker.api.remove_image(tag)
                except APIError:
                    continue
