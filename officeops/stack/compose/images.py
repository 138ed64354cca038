"""What a release was built to: its images, by which one that is kept on this host is told from one that is not."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

from officeops.errors import OfficeOpsError, RefusedError
from officeops.progress import Meter
from officeops.stack.compose import commands
from officeops.stack.compose.engine import Engine, EngineDownError
from officeops.stack.compose.projects import Projects
from officeops.stack.port import Release
from officeops.stack.releases import Commits

_BUILD_S = 1800.0
_SHA = re.compile(r"[0-9a-f]{40,64}")


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
        project = replace(self._projects.of(release.sha), directory=self._commits.path(release.sha))
        meter = Meter("build", len(wanted), unit="images")
        self._engine.run(project.command(*commands.build([name for name, _ in wanted.values()]), DOCKER_BUILDKIT="1"), timeout=_BUILD_S)
        meter.finish()

    def ids(self, release: Release) -> dict[str, str]:
        """By service of the runbook. Raises OfficeOpsError when one is not there."""
        found = self._found(release)
        if missing := [service for service, image in found.items() if image is None]:
            raise OfficeOpsError(
                f"The release {release.sha[:10]} has no image of {', '.join(missing)} on this host (any more).",
                state="Nothing was changed.",
                todo=f"Build it again: `officeops deploy {release.sha[:10]}`.",
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
        folder = self._commits.path("0").parent
        found = [self._commits.found(path.name) for path in folder.glob("*") if _SHA.fullmatch(path.name)]
        return sorted(filter(self._is_built, found), key=lambda release: release.built_at, reverse=True)

    def discard(self, sha: str) -> None:
        """Its images have no name any more, and are gone where no other release has the same; then its files. Raises RefusedError when a
        container is of one of them."""
        folder = self._commits.path(sha)
        if not folder.exists():
            return
        release = self._commits.found(sha)
        images = [image for _, image in self._projects.built_images(release).values()]
        if users := [one["Names"][0].lstrip("/") for one in self._engine.containers({}) if one["Image"] in images]:
            raise RefusedError(
                f"The release {release.sha[:10]} runs: {', '.join(sorted(users))}.",
                state="It was left as it is.",
                todo="Deploy another one first.",
            )
        for image in images:
            self._engine.remove_image(image)
        gone = folder.with_name(f"{sha}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)  # a folder of that name is a whole one
        shutil.rmtree(gone)

    def _found(self, release: Release) -> dict[str, str | None]:
        return {service: self._engine.image(image) for service, (_, image) in self._projects.built_images(release).items()}
