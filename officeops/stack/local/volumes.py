"""Folders that take the place of volumes on the embedded stack: those that the runbook names, and those that were made later."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from officeops import files
from officeops.errors import OfficeOpsError, UsageError
from officeops.process import Command
from officeops.stack.port import Volume
from officeops.stack.tar import export_script, import_script

if TYPE_CHECKING:
    from officeops.runbook import Runbook

MADE = "volumes"  # the folder of OFFICEOPS_HOME with those that the runbook does not name
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,126}")
_MARK = "officeops-volume"  # by it a helper that outlived its run is known
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_REMOVALS = 50


@dataclass(frozen=True)
class LocalVolumes:
    """The folders of one stack. data: the database server's data directory, which is the database's volume whatever is around it."""

    home: Path
    runbook: Runbook
    data: Path

    def all(self, *, measure: bool) -> list[Volume]:
        """Those that exist, by name."""
        found = [self._described(name) for name in sorted({*self.runbook.volumes, *self._made()}) if self.folder(name).is_dir()]
        return [replace(one, bytes=files.size(self.folder(one.name))) for one in found] if measure else found

    def get(self, name: str) -> Volume:
        """Raises UsageError when there is none of that name."""
        if not _NAME.fullmatch(name) or not self.folder(name).is_dir():
            there = ", ".join(one.name for one in self.all(measure=False)) or "none"
            raise UsageError(f"There is no volume {name!r}.", state="Nothing was changed.", todo=f"There are: {there}.")
        return self._described(name)

    def folder(self, name: str) -> Path:
        """Where it is, or would be."""
        named = self.runbook.volumes.get(name)
        if named is None:
            return self.home / MADE / name
        folder = self.home / (named.folder or name)
        return self.data if self.data.is_relative_to(folder) else folder

    def export(self, name: str) -> Command:
        """Prints a tar of it."""
        return self._tar(export_script(), self.get(name))

    def import_(self, name: str) -> Command:
        """Reads such a tar."""
        return self._tar(import_script(), self.get(name))

    def create(self, name: str) -> None:
        """An empty one. Raises OfficeOpsError when there is one, UsageError when that is no name."""
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name of a volume.", todo="Small letters, digits, dots, dashes and underscores.")
        folder = self.folder(name)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True, mode=0o711)  # the database's account has to pass
            folder.mkdir(mode=0o700)
        except FileExistsError as error:
            raise OfficeOpsError(f"There is a volume {name} already.", state="It was left as it was.") from error

    def exchange(self, one: str, other: str) -> None:
        """By one rename, which the file system does entirely or not at all. Raises OfficeOpsError where it cannot."""
        first, second = (self.folder(self.get(name).name) for name in (one, other))
        _exchange(first, second)
        for parent in {first.parent, second.parent}:
            _synchronise(parent)

    def remove(self, name: str) -> None:
        """Gone; no error when it is gone already."""
        if not _NAME.fullmatch(name):
            return
        folder = self.folder(name)
        for left in reversed(range(_REMOVALS)):
            try:
                return shutil.rmtree(folder)
            except FileNotFoundError:
                if not folder.exists():
                    return None
            except OSError as error:
                if error.errno != errno.ENOTEMPTY or not left:  # a helper that is just being ended may write a last file
                    raise OfficeOpsError(f"{folder} could not be removed: {error.strerror} ({error.filename}).") from error
        return None

    def sweep(self) -> list[str]:
        """Ends helpers of killed runs. The caller holds the stack's lock, so that no helper of a living run is among them."""
        swept = []
        for pid, folder in _helpers():
            if Path(folder).is_relative_to(self.home):
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)  # each leads a group of its own
                    swept.append(f"tar of {folder} (process {pid})")
        return swept

    def _made(self) -> list[str]:
        try:
            return [entry.name for entry in os.scandir(self.home / MADE) if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []

    def _described(self, name: str) -> Volume:
        named = self.runbook.volumes.get(name)
        folder = self.folder(name)
        return Volume(name, named.services if named else (), self.data.is_relative_to(folder))

    def _tar(self, script: str, volume: Volume) -> Command:
        return Command(("sh", "-c", script, _MARK, str(self.folder(volume.name))), cwd=self.home)


def _helpers() -> Iterator[tuple[int, str]]:
    """Process and folder of each helper that runs on this host."""
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if len(line) == 5 and line[0] == "sh" and line[3] == _MARK:
            yield process.pid, line[4]


def _exchange(first: Path, second: Path) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return
    code = ctypes.get_errno()
    why = {
        errno.EINVAL: "this file system cannot exchange two folders at once",
        errno.ENOSYS: "this kernel cannot exchange two folders at once",
        errno.EXDEV: "the two are on different file systems",
        errno.EBUSY: "another file system is mounted at one of them",
    }.get(code, os.strerror(code))
    raise OfficeOpsError(
        f"{first} and {second} could not change places: {why}.",
        state="Both are as they were.",
        todo="Set OFFICEOPS_HOME in .env to a folder on ext4, XFS or Btrfs, with nothing mounted inside."
        if code in (errno.EINVAL, errno.EXDEV, errno.EBUSY)
        else "",
    )


def _synchronise(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
