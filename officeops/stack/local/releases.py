"""Releases on the embedded stack: a directory exported from git by sha, and a virtualenv keyed by its lock file."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path

from officeops.errors import OfficeOpsError, UsageError
from officeops.process import Command, CommandError, run, started
from officeops.stack.port import Release

_COMPLETE = ".complete"
_INSTALL_S = 900.0
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Releases:
    """The releases of one repository, kept in `home/releases` and `home/venvs`."""

    def __init__(self, home: Path, repository: Path, lock: str) -> None:
        self._folder, self._venvs = home / "releases", home / "venvs"
        self._repository, self._lock = repository, lock

    def build(self, ref: str) -> Release:
        """Makes the release of a commit, or finds the one that is there. A release is a commit: what is not committed is not in it.

        Raises UsageError when there is no such commit, OfficeOpsError when it cannot be exported or its packages not installed.
        """
        sha = self._resolve(ref)
        folder = self.path(sha)
        if not folder.exists():
            self._export(sha, folder)
        self._install(folder)
        return Release(sha, datetime.fromtimestamp(folder.stat().st_mtime, UTC))

    def uncommitted(self) -> int:
        """How many files of the working tree differ from the last commit."""
        return len(self._git("--no-optional-locks", "status", "--porcelain", "--untracked-files=all").splitlines())

    def path(self, sha: str) -> Path:
        """Where the release stands."""
        return self._folder / sha

    def venv(self, sha: str) -> Path:
        """Its virtualenv: shared by all releases with the same lock and the same Python."""
        lock = self.path(sha) / self._lock
        try:
            key = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
        except FileNotFoundError as error:
            raise UsageError(f"The release {sha[:10]} has no {self._lock}.", todo="Correct application.lock in runbook.yaml.") from error
        return self._venvs / key

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

    def _install(self, release: Path) -> None:
        venv = self.venv(release.name)
        if (venv / _COMPLETE).exists():
            return
        shutil.rmtree(venv, ignore_errors=True)
        self._uv("venv", "--quiet", "--python", sys.executable, str(venv))
        self._uv("pip", "sync", "--quiet", "--require-hashes", "--python", str(venv / "bin" / "python"), str(release / self._lock))
        os.sync()  # thousands of files; after a power cut the mark must not be there without them
        (venv / _COMPLETE).touch()

    def _uv(self, *arguments: str) -> None:
        # Where packages come from is this host's affair: a mirror, a proxy.
        ours = {key: value for key, value in os.environ.items() if key.startswith("UV_") or key.lower() in _PROXIES}
        run(Command((str(Path(sys.prefix) / "bin" / "uv"), *arguments), ours), timeout=_INSTALL_S)

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
