"""What the images of a release stand on and hold: asked of the images themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from officeops.errors import OfficeOpsError
from officeops.process import Command, run
from officeops.stack.compose import commands, dockerfile
from officeops.stack.compose.engine import Engine
from officeops.stack.compose.projects import Described, Projects
from officeops.stack.port import Part, Release
from officeops.stack.releases import Commits

_ASK_S, _PULL_S = 120.0, 1800.0
_NOBODY = "65534:65534"
# Of the package managers that it knows the one that is there; then of every Python package. A first line says that there is such a thing.
_LIST = r"""
if command -v dpkg-query >/dev/null; then
    printf 'system\n'; dpkg-query -W -f 'system\t${binary:Package}\t${Version}\n'
elif command -v apk >/dev/null; then
    printf 'system\n'; apk info -v 2>/dev/null | sed 's/^\(.*\)-\([0-9][^-]*-r[0-9]*\)$/system\t\1\t\2/'
elif command -v rpm >/dev/null; then
    printf 'system\n'; rpm -qa --qf 'system\t%{NAME}\t%{VERSION}-%{RELEASE}\n'
fi
for python in python python3; do
    if command -v $python >/dev/null; then
        printf 'python\n'
        exec $python -c 'from importlib.metadata import distributions
for one in distributions(): print("python", one.metadata["Name"], one.version, sep="\t")'
    fi
done
"""


class Contents:
    """Of one stack's releases."""

    def __init__(self, stack: str, engine: Engine, projects: Projects, commits: Commits) -> None:
        self._stack, self._engine, self._projects, self._commits = stack, engine, projects, commits

    def bases(self, release: Release) -> dict[str, str]:
        """The images that it is built on, by name; ids as far as they are here."""
        names = dict.fromkeys(name for _, found in self._dockerfiles(release) for name in found.all)
        return {name: self._engine.image(name) or "" for name in names}

    def restore_bases(self, ids: Mapping[str, str]) -> None:
        """These names are those images again."""
        for name, identifier in ids.items():
            if identifier and self._engine.image(name) != identifier and self._engine.has_image(identifier):
                repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "latest")
                with self._engine.explained():
                    self._engine.api.tag(identifier, repository, tag)

    def fetch_bases(self, release: Release) -> list[str]:
        """The newest of each. One that cannot be fetched and is here is used: returns what is to be said of that."""
        notes = []
        for name in self.bases(release):
            try:
                self._engine.run(self._engine.asked(Command(("docker", "pull", "--quiet", name), title="docker pull")), timeout=_PULL_S)
            except OfficeOpsError as error:
                if not self._engine.has_image(name):
                    raise
                why = str(error.__cause__ or error).splitlines()[-1]
                notes.append(f"The image {name} could not be fetched; the one that is on this host was used. ({why})")
        return notes

    def of(self, release: Release) -> dict[str, Part]:
        """By service."""
        images = {service: image for service, (_, image) in self._projects.built_images(release).items()}
        bases = dict(self._dockerfiles(release))
        return {service: self._part(image, bases[service].last) for service, image in images.items()}

    def texts(self, release: Release) -> Iterator[str]:
        """Its Dockerfiles."""
        for _, described in self._built(release):
            yield self._text(release, described["build"])

    def _part(self, image: str, base: str | None) -> Part:
        about, listed = self._about(image), self._listed(image)
        bases = {}
        if base is not None:
            below = self._about(base) if self._engine.has_image(base) else None
            layers = below["RootFS"]["Layers"] if below else []
            bases[base] = str(below["Id"]) if below and about["RootFS"]["Layers"][: len(layers)] == layers else ""
        return Part(listed.get("system"), listed.get("python"), bases, int(about["Size"]))

    def _listed(self, image: str) -> dict[str, dict[str, str]]:
        container = commands.Container(self._stack, image, "none", _NOBODY, uuid4().hex)
        asked = self._engine.ended_with_us(container.command("sh", ["-c", _LIST], {}))
        done = run(asked, timeout=_ASK_S, ok=range(256))  # an image without a shell cannot be asked
        found: dict[str, dict[str, str]] = {}
        for line in done.stdout.decode(errors="replace").splitlines():
            kind, *rest = line.split("\t")
            packages = found.setdefault(kind, {})
            if len(rest) == 2:
                packages[rest[0]] = rest[1]
        return found

    def _about(self, image: str) -> dict[str, Any]:
        with self._engine.explained():
            return dict(self._engine.api.inspect_image(image))

    def _dockerfiles(self, release: Release) -> Iterator[tuple[str, dockerfile.Bases]]:
        for service, described in self._built(release):
            build = described["build"]
            yield service, dockerfile.bases(self._text(release, build), build.get("args") or {}, build.get("target"))

    def _built(self, release: Release) -> Iterator[tuple[str, Described]]:
        services = self._projects.described(release)
        for service, (name, _) in self._projects.built_images(release).items():
            yield service, services[name]

    def _text(self, release: Release, build: Mapping[str, Any]) -> str:
        """Compose gives folders as they are in the working tree; a release's own are built."""
        if "dockerfile_inline" in build:
            return str(build["dockerfile_inline"])
        file = Path(build["context"]) / build.get("dockerfile", "Dockerfile")
        return (self._commits.path(release.sha) / self._projects.inside(file)).read_text(encoding="utf-8")
