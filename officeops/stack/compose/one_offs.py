"""Programs of a release in containers of their own: the schema migrated, a demonstration's data put in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import uuid4

from officeops.errors import OfficeOpsError, UsageError
from officeops.process import Command
from officeops.stack.compose import commands, names
from officeops.stack.compose.engine import ComposeFileError, Engine, explanation
from officeops.stack.compose.projects import Projects
from officeops.stack.port import Release
from officeops.stack.releases import with_arguments
from officeops.stack.values import filled, release_values

if TYPE_CHECKING:
    from officeops.config import Config
    from officeops.runbook.model import ComposeCommand

_ONE_OFF_S = 3600.0


class OneOffs:
    """Of one stack."""

    def __init__(self, config: Config, engine: Engine, projects: Projects) -> None:
        self._config, self._engine, self._projects = config, engine, projects

    def migrate(self, release: Release) -> None:
        """The schema at the release's revision."""
        self._run(release, self._projects.application.migrate)

    def seed(self, release: Release) -> str:
        """A demonstration's data; what its program printed."""
        return self._run(release, self._projects.application.seed)

    def migration(self, release: Release, arguments: Sequence[str], environment: Mapping[str, str]) -> Command:
        """The release's migration program with other arguments and more in its environment."""
        given = self._projects.application.migrate
        if given is None:
            raise UsageError(
                "runbook.yaml does not say how the schema is migrated.",
                state="Nothing was run.",
                todo="Add application.compose.migrate (see docs/runbook.md).",
            )
        return self._command(release, given, with_arguments(given.command, arguments), environment)

    def _run(self, release: Release, given: ComposeCommand | None) -> str:
        if given is None:
            return ""
        return self._engine.run(self._command(release, given, given.command), timeout=_ONE_OFF_S).stdout.decode()

    def _command(
        self, release: Release, given: ComposeCommand, argv: Sequence[str], more: Mapping[str, str] = MappingProxyType({})
    ) -> Command:
        """In a container that ends when the command does, also by force."""
        values = {**release_values(self._config.settings, release.settings), "sha": release.sha}
        environment = {**{key: filled(text, values) for key, text in given.environment.items()}, **more}
        argv = [str(filled(part, values)) for part in argv]
        run, service = uuid4().hex, names.all_of(self._config.runbook, given.service)[0]
        project = self._projects.of(release.sha, release.settings)
        command = project.command(*commands.one_off(service, argv, run, list(environment)), **environment)
        address = self._engine.address

        def explain(_status: int, said: str) -> OfficeOpsError | None:
            # Its own words may read like those about a Compose file.
            found = explanation(said, address)
            return None if isinstance(found, ComposeFileError) else found

        return replace(command, title=" ".join(argv[:2]), explain=explain, on_kill=lambda: self._engine.kill_run(run))
