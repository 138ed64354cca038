"""What every stack does with the application's repository: a commit found, its files exported, and which one runs written down."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from datetime import UTC, datetime
from pathlib import Path

from officeops.errors import OfficeOpsError, UsageError
from officeops.process import Command, CommandError, run, started
from officeops.stack.port import Deployed, Release


class Commits:
    """The commits of one repository, exported to `home/releases`."""

    def __init__(self, home: Path, repository: Path) -> None:
        self._folder, self._repository = home / "releases", repository

    def export(self, ref: str) -> Release:
        """The files of a commit, exported or found as they were. What is not committed is not in it.

        Raises UsageError when there is no such commit, OfficeOpsError when it cannot be exported.
        """
        sha = self._resolve(ref)
        folder = self.path(sha)
        if not folder.exists():
            self._export(sha, folder)
        return Release(sha, datetime.fromtimestamp(folder.stat().st_mtime, UTC))

    def uncommitted(self) -> int:
        """How many files of the working tree differ from the last commit."""
        return len(self._git("--no-optional-locks", "status", "--porcelain", "--untracked-files=all").splitlines())

    def committed_at(self, sha: str) -> datetime:
        """When the commit was made."""
        return datetime.fromisoformat(self._git("show", "--no-patch", "--format=%cI", sha))

    def path(self, sha: str) -> Path:
        """Where its files stand."""
        return self._folder / sha

    def _resolve(self, ref: str) -> str:
        try:
            return self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        except CommandError as error:
            raise UsageError(
                f"There is no commit {ref!r} in {self._repository}.",
                state="Nothing was built.",
                todo="Name a commit, a tag or a branch; in a new repository, commit first."
                + (f" ({error.stderr})" if error.stderr else ""),
            ) from error

    def _export(self, sha: str, folder: Path) -> None:
        unfinished = folder.with_name(f"{sha}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        with started(self._git_command("archive", "--format=tar", sha), timeout=120) as child:
            try:
                with tarfile.open(fileobj=child.stdout, mode="r|") as archive:
                    archive.extractall(unfinished, filter="data")
            except tarfile.TarError as error:
                child.stdout.read()
                child.wait()  # git's own words, if it failed, say more
                raise OfficeOpsError(
                    f"The commit {sha[:10]} cannot be exported: {error}.", state="Nothing was built.", todo="Correct it in the repository."
                ) from error
            child.wait()
        _flush(unfinished)
        unfinished.rename(folder)

    def _git(self, *arguments: str) -> str:
        return run(self._git_command(*arguments), timeout=60).stdout.decode().strip()

    def _git_command(self, *arguments: str) -> Command:
        # The repository may belong to another user than root, who runs this.
        return Command(("git", "-c", f"safe.directory={self._repository}", "-C", str(self._repository), *arguments))


def _flush(folder: Path) -> None:
    """Every file in `folder` is on the disk."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def deployed(home: Path) -> Deployed | None:
    """The release that was written down last."""
    try:
        found = json.loads((home / "release.json").read_text())
    except FileNotFoundError:
        return None
    return Deployed(found["sha"], datetime.fromisoformat(found["since"]))


def record_deployed(home: Path, sha: str) -> None:
    """Writes down that the release `sha` runs now; one that ran before keeps its time."""
    before = deployed(home)
    if before is not None and before.sha == sha:
        return
    path = home / "release.json"
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"sha": sha, "since": datetime.now(UTC).isoformat()}))
    temporary.rename(path)
