"""What Docker keeps of this stack and nothing needs any more. What belongs to others, or may, is left alone and counted."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from officeops import files
from officeops.errors import OfficeOpsError, RefusedError
from officeops.stack.compose import containers, dockerfile, names
from officeops.stack.compose.contents import Contents
from officeops.stack.compose.engine import PROJECT, SERVICE, Engine
from officeops.stack.compose.projects import Projects
from officeops.stack.port import LeftOver, short
from officeops.stack.releases import NAME, Commits

CACHE_AGE = timedelta(days=7)  # what a build of this week used, the next one may want
_FILES = "com.docker.compose.project.config_files"
_NOT_OURS = "not ours"
Summary = Mapping[str, Any]


class LeftOvers:
    """Of one stack."""

    def __init__(self, engine: Engine, projects: Projects, commits: Commits, contents: Contents) -> None:
        self._engine, self._projects, self._commits, self._contents = engine, projects, commits, contents

    def all(self, needed: Collection[str], now: datetime) -> list[LeftOver]:
        """See officeops/stack/port.py."""
        with self._engine.explained():
            usage = self._engine.api.df()
        return [
            *self._containers(),
            *self._images(usage["Images"] or [], needed),
            *self._releases(needed),
            *self._cache(usage["BuildCache"] or [], now),
        ]

    def remove(self, one: LeftOver) -> None:
        """See officeops/stack/port.py."""
        match one.kind:
            case "image":
                if users := self._users(self._engine.image(one.name)):
                    raise RefusedError(f"{one.name} is used by {', '.join(users)}.", state="It was left as it is.")
                self._engine.remove_image(one.name)
            case "container":
                found = self._engine.inspect(one.name)
                if found is not None and containers.state(found) not in ("stopped", "failed"):
                    raise RefusedError(f"{one.name} runs again.", state="It was left as it is.")
                self._engine.remove(one.name)
            case "build cache":
                with self._engine.explained():
                    self._engine.api.prune_builds(filters={"id": [one.name]}, all=True)
            case "release":
                self._commits.forget(one.name)
            case _:
                shutil.rmtree(one.name, ignore_errors=True)

    # --- containers: those of services that a release of ours once had ---------------------------------------------------------

    def _containers(self) -> Iterator[LeftOver]:
        known = self._projects.described(self._projects.running())
        for one in self._engine.containers({PROJECT: self._projects.stack}):
            ours = f"{self._commits.path('0').parent}/" in str(one["Labels"].get(_FILES, ""))  # not the control plane's
            if ours and one["Labels"].get(SERVICE) not in known and one["State"] in ("exited", "dead", "created"):
                yield LeftOver(
                    "container", _name(one), 0, False, f"it has ended, and no service is called {one['Labels'].get(SERVICE)} any more"
                )

    # --- images ----------------------------------------------------------------------------------------------------------------

    def _images(self, images: Collection[Summary], needed: Collection[str]) -> Iterator[LeftOver]:
        strangers = [image for image in images if not self._is_ours(image)]
        newest: set[str] = set()  # repositories of the control plane of which the newest image was seen
        for image in sorted(filter(self._is_ours, images), key=lambda one: int(one["Created"]), reverse=True):
            tags = [tag for tag in image["RepoTags"] or [] if tag != "<none>:<none>"]
            users = self._users(image["Id"])
            for tag in tags or [str(image["Id"])]:
                stays, why = self._judged(tag, image, needed, newest)
                if users:
                    stays, why = True, f"used by {', '.join(users)}"
                yield LeftOver("image", tag, _own_bytes(image), stays, why)
        if strangers:
            size = sum(_own_bytes(image) for image in strangers)
            yield LeftOver("image", f"{len(strangers)} others", size, True, f"{_NOT_OURS}: not built by this stack")

    def _judged(self, tag: str, image: Summary, needed: Collection[str], newest: set[str]) -> tuple[bool, str]:
        repository, _, version = tag.rpartition(":")
        if tag == image["Id"]:
            return False, "it has no name any more: a newer build has it"
        if NAME.fullmatch(version):
            stays = version in needed
            return stays, f"the release {short(version)} stays" if stays else f"no rollback needs the release {short(version)}"
        if image["Labels"].get(SERVICE) in self._services() or not repository.startswith(f"{self._projects.stack}-"):
            return True, f"{_NOT_OURS}: somebody gave it this name"
        first = repository not in newest
        newest.add(repository)
        return first, "the control plane's newest" if first else "the control plane has a newer one"

    def _is_ours(self, image: Summary) -> bool:
        return (image["Labels"] or {}).get(PROJECT) == self._projects.stack

    def _services(self) -> set[str]:
        runbook = self._projects.runbook
        return {name for service in runbook.services for name in names.all_of(runbook, service)}

    def _users(self, image: str | None) -> list[str]:
        """Containers of any project that are of that image, running or not."""
        return sorted(_name(one) for one in self._engine.containers({}) if one["ImageID"] == image)

    # --- files -----------------------------------------------------------------------------------------------------------------

    def _releases(self, needed: Collection[str]) -> Iterator[LeftOver]:
        for sha in self._commits.names():
            stays = sha in needed
            why = "it stays" if stays else "no rollback needs it"
            yield LeftOver("release", sha, files.size(self._commits.path(sha)), stays, why)
        for path in self._commits.unfinished():
            yield LeftOver("folder", str(path), files.size(path), False, "left by a run that was killed")

    # --- what the builder keeps --------------------------------------------------------------------------------------------------

    def _cache(self, records: Collection[Summary], now: datetime) -> Iterator[LeftOver]:
        by_id = {str(one["ID"]): one for one in records}
        commands = self._own_commands()
        left = old = 0
        for one in records:
            if not _is_ours(one, by_id, commands):
                left, old = left + 1, old + int(one["Size"])
                continue
            age = now - containers.time(str(one.get("LastUsedAt") or one["CreatedAt"]))
            stays = bool(one["InUse"]) or age < CACHE_AGE
            why = "in use" if one["InUse"] else f"used {'this week' if stays else f'{age.days} days ago'}"
            yield LeftOver("build cache", str(one["ID"]), int(one["Size"]), stays, why)
        if left:
            yield LeftOver("build cache", f"{left} others", old, True, f"{_NOT_OURS}, as far as can be told")

    def _own_commands(self) -> set[str]:
        """What our releases run when they are built. None when an image of others ran any of that, too: it may be of the same Dockerfile,
        and its other stages are in no image."""
        ours: set[str] = set()
        for sha in self._commits.names():
            try:
                ours |= {one for text in self._contents.texts(self._commits.found(sha)) for one in dockerfile.commands(text)}
            except (OfficeOpsError, OSError):
                continue  # files of another time
        others: set[str] = set()
        with self._engine.explained():
            for image in self._engine.api.images():
                if not self._is_ours(image):
                    steps = [str(one["CreatedBy"]) for one in self._engine.api.history(image["Id"])]
                    others |= {dockerfile.plain(_shell(step.removesuffix("# buildkit"))) for step in steps if "/bin/sh -c" in step}
        return ours if ours.isdisjoint(others) else set()


def _is_ours(record: Summary, by_id: Mapping[str, Summary], commands: Collection[str]) -> bool:
    """It, or what it stands on, ran a command that only our releases have, and no other one."""
    ran = []
    at: Summary | None = record
    while at is not None:
        description = str(at["Description"])
        if "/bin/sh -c" in description:
            ran.append(dockerfile.plain(_shell(description)))
        at = by_id.get(str(at.get("Parent") or ""))
    return bool(ran) and all(one in commands for one in ran)


def _shell(text: str) -> str:
    return text.partition("/bin/sh -c")[2]


def _own_bytes(image: Summary) -> int:
    """Without what other images have, too."""
    return int(image["Size"]) - max(0, int(image.get("SharedSize", 0)))


def _name(container: Summary) -> str:
    return str(container["Names"][0]).lstrip("/")
