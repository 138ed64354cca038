"""The Compose project of each release: its own file, this host's values, and what Compose understands of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from officeops.errors import UsageError
from officeops.stack import releases
from officeops.stack.compose import commands, names
from officeops.stack.compose.engine import Engine
from officeops.stack.port import Release
from officeops.stack.values import front_url, release_values

if TYPE_CHECKING:
    from officeops.config import Config
    from officeops.runbook.model import ComposeApplication, Runbook

Described = dict[str, Any]
_CONFIG_S = 60.0


class Projects:
    """Those of one stack."""

    def __init__(self, config: Config, engine: Engine, commits: releases.Commits) -> None:
        self._config, self._engine, self._commits = config, engine, commits
        self._home, self._app = config.settings.officeops_home, config.settings.officeops_app
        self._described: dict[tuple[str, ...], dict[str, Described]] = {}

    @property
    def stack(self) -> str:
        """Their name."""
        return self.runbook.stack

    @property
    def runbook(self) -> Runbook:
        """What is asked of them."""
        return self._config.runbook

    def inside(self, path: Path) -> Path:
        """A path of the working tree, as Compose gives it, from its top. Raises UsageError when it is none."""
        if path.is_relative_to(self._app):
            return path.relative_to(self._app)
        raise UsageError(
            f"{path} is outside of the application's repository, so no release has it.",
            state="Nothing was changed.",
            todo="Keep what is built inside the repository.",
        )

    @property
    def application(self) -> ComposeApplication:
        """How the application runs here. Raises UsageError when the runbook does not say."""
        found = self._config.runbook.application.compose
        if found is None:
            raise UsageError(
                "runbook.yaml does not say how this application runs on Compose.",
                state="Nothing was changed.",
                todo="Add application.compose (see docs/runbook.md), or set OFFICEOPS_STACK=local in .env.",
            )
        return found

    def running(self) -> Release:
        """The release that runs, or the last commit before there is any."""
        found = releases.deployed(self._home)
        return Release(found.sha, found.at, found.settings) if found else self._commits.export("HEAD")

    def of(self, sha: str, settings: Mapping[str, str] | None = None) -> commands.Project:
        """The project on a release: the file is the release's own, relative paths of its mounts begin in the working tree. settings: what
        it has instead of today's values."""
        self._require_plain_folders()
        values = release_values(self._config.settings, settings or {})
        environment: dict[str, str | SecretStr] = {key.upper(): value for key, value in values.items()}
        environment |= {
            "COMPOSE_PROJECT_NAME": self._config.runbook.stack, "RELEASE_SHA": sha, "OFFICEOPS_DIR": str(self._config.folder),
            "DOCKER_SOCKET": self._engine.address.removeprefix("unix://"), "DOCKER_HOST": self._engine.address,
            "OFFICEOPS_UID": str(os.geteuid()), "OFFICEOPS_GID": str(os.getegid()),
            "PROXY_DIR": str(self._home / "proxy"), "PREFECT_FRONT": front_url(self._config.settings),
            "RELEASE_CREATED": self._commits.committed_at(sha).isoformat(),
        }  # fmt: skip
        file = self._commits.path(sha) / self.application.file
        beside = self._app / f"{file.stem}.override{file.suffix}"  # what differs on this host, as Compose itself would find it
        # An application with a .env of its own has it read; ours is given exactly, by the environment.
        own = self._app / ".env"
        env_file = own if self._app != self._config.folder and own.exists() else Path(os.devnull)
        files = (file, beside) if beside.exists() else (file,)
        return commands.Project(self._config.runbook.stack, self._app, files, env_file, environment)

    def described(self, release: Release) -> dict[str, Described]:
        """The services of the release's Compose file, everything filled in, without those of any profile. Raises ComposeFileError,
        UsageError when a service of the runbook is missing."""
        key = (release.sha, *(f"{name}={value}" for name, value in sorted(release.settings.items())))
        if key not in self._described:
            done = self._engine.run(self.of(release.sha, release.settings).command(*commands.config()), timeout=_CONFIG_S)
            found: dict[str, Described] = json.loads(done.stdout)["services"]
            self._require_all(found)
            self._described[key] = found
        return self._described[key]

    def image(self, name: str, described: Mapping[str, Any]) -> str:
        """The image of a Compose service, by Compose's own rule where the file names none."""
        return str(described.get("image") or f"{self._config.runbook.stack}-{name}")

    def built_images(self, release: Release) -> dict[str, tuple[str, str]]:
        """Of each service of the runbook that is built here: the Compose service that builds it, and its image. Both colours have one."""
        services, found = self.described(release), {}
        for service in self._config.runbook.services:
            name = names.all_of(self._config.runbook, service)[0]
            if services[name].get("build"):
                found[service] = (name, self.image(name, services[name]))
        return found

    def _require_all(self, services: Mapping[str, Any]) -> None:
        wanted = [name for service in self._config.runbook.services for name in names.all_of(self._config.runbook, service)]
        if missing := [name for name in wanted if name not in services]:
            raise UsageError(
                f"The Compose file {self.application.file} has no service {', '.join(missing)}.",
                state="Nothing was changed.",
                todo="Name the same services in runbook.yaml and in the Compose file, outside of profiles; "
                "one that is `rolled` is two there, NAME-blue and NAME-green.",
            )

    def _require_plain_folders(self) -> None:
        for folder in (self._home, self._app):
            if "%" in str(folder):
                raise UsageError(
                    f"Compose cannot work in a folder whose name has a per cent sign: {folder}.",
                    state="Nothing was changed.",
                    todo="Move it, or set OFFICEOPS_HOME and OFFICEOPS_APP in .env to other folders.",
                )
