"""What the embedded stack keeps in OFFICEOPS_HOME and nothing needs any more."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from officeops import files
from officeops.errors import RefusedError
from officeops.stack.local.releases import Releases
from officeops.stack.local.statuses import AT_REST
from officeops.stack.local.supervisor import Supervisor
from officeops.stack.port import LeftOver, short


class LeftOvers:
    """Of one stack."""

    def __init__(self, releases: Releases, supervisor: Supervisor) -> None:
        self._releases, self._supervisor = releases, supervisor

    def all(self, needed: Collection[str]) -> list[LeftOver]:
        """See officeops/stack/port.py."""
        running = {one.release for one in self._supervisor.status() if one.release and one.state not in AT_REST}
        return [*self._folders(needed, running), *self._virtualenvs({*needed, *running})]

    def remove(self, one: LeftOver) -> None:
        """See officeops/stack/port.py."""
        path = self._releases.path(one.name) if one.kind == "release" else Path(one.name)
        if users := _users([path])[path]:
            raise RefusedError(f"{path} is used by {users}.", state="It was left as it is.")
        match one.kind:
            case "release":
                self._releases.commits.forget(one.name)
            case "virtualenv":
                self._releases.remove_venv(path)
            case _:
                shutil.rmtree(path, ignore_errors=True)

    def _folders(self, needed: Collection[str], running: Collection[str]) -> Iterator[LeftOver]:
        for sha in self._releases.commits.names():
            stays = sha in needed or sha in running
            why = "it stays" if sha in needed else "it runs" if stays else f"no rollback needs the release {short(sha)}"
            yield LeftOver("release", sha, files.size(self._releases.path(sha)), stays, why)
        for path in self._releases.commits.unfinished():
            yield LeftOver("folder", str(path), files.size(path), False, "left by a run that was killed")

    def _virtualenvs(self, needed: Collection[str]) -> Iterator[LeftOver]:
        found = self._releases.unreferenced(needed)
        users = _users(list(found))
        for path, goes in found.items():
            why = (
                f"used by {users[path]}"
                if users[path]
                else "no release that stays has its lock file"
                if goes
                else "a release that stays has it"
            )
            yield LeftOver("virtualenv", str(path), files.size(path), not goes or bool(users[path]), why)


def _users(folders: Collection[Path]) -> dict[Path, str]:
    """A process that runs in or from each folder, for people; empty where there is none."""
    found = dict.fromkeys(folders, "")
    for process in psutil.process_iter(["pid", "name", "cwd", "cmdline"]):
        with suppress(psutil.Error):
            places = [process.info["cwd"] or "", *(process.info["cmdline"] or [])]
            for folder in folders:
                if any(place == str(folder) or place.startswith(f"{folder}/") for place in places):
                    found[folder] = f"{process.info['name']} (process {process.info['pid']})"
    return found
