"""What a release was built to: its images, by which one that is kept on this host is told from one that is not."""

from __future__ import annotations

from dataclasses import replace

from officeops.errors import OfficeOpsError, RefusedError
from officeops.progress import Meter
from officeops.stack.compose import commands
from officeops.stack.compose.engine import Engine, EngineDownError
from officeops.stack.compose.projects import Projects
from officeops.stack.port import Release, commit_of, short
from officeops.stack.releases import Commits

_BUILD_S = 1800.0


class Images:
    """Of one stack's releases."""

    def __init__(self, engine: Engine, projects: Projects, commits: Commits) -> None:
        self._engine, self._projects, self._commits = engine, projects, commits

    def build(self, release: Release, *, anew: bool = False) -> None:
        """Makes those that are missing (anew: all): one for both colours. Contexts are the release's own files, not those of the working
        tree."""
        wanted = self._projects.built_images(release)
        if not anew and all(self._engine.has_image(image) for _, image in wanted.values()):
            return
        self._build(release)

    def build_from_nothing(self, release: Release) -> None:
        """Makes all of them, with no step of an earlier build."""
        self._build(release, from_nothing=True)

    def _build(self, release: Release, *, from_nothing: bool = False) -> None:
        project = replace(self._projects.of(release.sha), directory=self._commits.path(release.sha))
        names = [name for name, _ in self._projects.built_images(release).values()]
        meter = Meter("build", len(names), unit="images")
        self._engine.run(project.command(*commands.build(names, from_nothing=from_nothing), DOCKER_BUILDKIT="1"), timeout=_BUILD_S)
        meter.finish()

    def ids(self, release: Release) -> dict[str, str]:
        """By service of the runbook. Raises OfficeOpsError when one is not there."""
        found = self._found(release)
        if missing := [service for service, image in found.items() if image is None]:
            raise OfficeOpsError(
                f"The release {short(release.sha)} has no image of {', '.join(missing)} on this host (any more).",
                state="Nothing was changed.",
                todo=f"Build it again: `officeops deploy {commit_of(release.sha)[:10]}`.",
            )
        return {service: image for service, image in found.items() if image is not None}

    def _is_built(self, release: Release) -> bool:
        """Whether every image is there."""
        try:
            return all(self._found(release).values())
        except EngineDownError:
            raise
        except OfficeOpsError:
            return False  # its files are of another time, or not whole: nothing can be started from them

    def built(self) -> list[Release]:
        """Those whose files and images are all there, newest first."""
        found = [self._commits.found(sha) for sha in self._commits.names()]
        return sorted(filter(self._is_built, found), key=lambda release: release.built_at, reverse=True)

    def discard(self, sha: str) -> None:
        """Its images have no name any more, and are gone where no other release has the same; then its files. Raises RefusedError when a
        container is of one of them."""
        if not self._commits.path(sha).exists():
            return
        release = self._commits.found(sha)
        images = [image for _, image in self._projects.built_images(release).values()]
        if users := [one["Names"][0].lstrip("/") for one in self._engine.containers({}) if one["Image"] in images]:
            raise RefusedError(
                f"The release {short(release.sha)} runs: {', '.join(sorted(users))}.",
                state="It was left as it is.",
                todo="Deploy another one first.",
            )
        for image in images:
            self._engine.remove_image(image)
        self._commits.forget(sha)

    def _found(self, release: Release) -> dict[str, str | None]:
        return {service: self._engine.image(image) for service, (_, image) in self._projects.built_images(release).items()}
