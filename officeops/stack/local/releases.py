"""Releases on the embedded stack: a commit's files, and a virtualenv keyed by its lock file."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path

from officeops.errors import OfficeOpsError, UsageError
from officeops.process import Command, run
from officeops.stack.local.programs import Places
from officeops.stack.port import Release
from officeops.stack.releases import Commits

_COMPLETE = ".complete"
_SHA = re.compile(r"[0-9a-f]{40,64}")
_INSTALL_S = 900.0
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Releases:
    """The releases of one repository, kept in `home/releases` and `home/venvs`."""

    def __init__(self, home: Path, repository: Path, lock: str) -> None:
        self.commits = Commits(home, repository)
        self._venvs, self._lock = home / "venvs", lock

    def build(self, ref: str) -> Release:
        """Makes the release of a commit, or finds the one that is there. Raises what `Commits.export` does, and OfficeOpsError when its
        packages cannot be installed."""
        release = self.commits.export(ref)
        self._install(self.path(release.sha))
        return release

    def rebuild(self, release: Release) -> None:
        """Files and packages as they should be. Packages are put over those that are there: processes that run keep what they have."""
        self.commits.export_anew(release.sha)
        venv, lock = self.venv(release.sha), self.path(release.sha) / self._lock
        if not (venv / _COMPLETE).exists():
            self._install(self.path(release.sha))
            return
        self._uv("pip", "sync", "--quiet", "--reinstall", "--require-hashes", "--python", str(venv / "bin" / "python"), str(lock))

    def path(self, sha: str) -> Path:
        """Where the release stands."""
        return self.commits.path(sha)

    def venv(self, sha: str) -> Path:
        """Its virtualenv: shared by all releases with the same lock and the same Python."""
        lock = self.path(sha) / self._lock
        try:
            key = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
        except FileNotFoundError as error:
            raise UsageError(f"The release {sha[:10]} has no {self._lock}.", todo="Correct application.lock in runbook.yaml.") from error
        return self._venvs / key

    def places(self, release: Release) -> Places:
        """Where it stands, for the programs that run on it."""
        return Places(release.sha, self.path(release.sha), self.venv(release.sha), release.settings)

    def artifact(self, release: Release) -> dict[str, str]:
        """Its folder and its virtualenv. Raises OfficeOpsError when they are not there."""
        if not self._is_built(release.sha):
            raise OfficeOpsError(
                f"The release {release.sha[:10]} is not built on this host (any more).",
                todo=f"Build it: `officeops up {release.sha[:10]}`.",
            )
        return {"folder": str(self.path(release.sha)), "virtualenv": str(self.venv(release.sha))}

    def built(self) -> list[Release]:
        """Those that are there, newest first."""
        found = [self.commits.found(sha) for sha in self._shas() if self._is_built(sha)]
        return sorted(found, key=lambda release: release.built_at, reverse=True)

    def discard(self, sha: str) -> None:
        """Its files are gone, and its virtualenv unless another release has the same. No error when they were."""
        folder = self.path(sha)
        if not folder.exists():
            return
        others = {self.venv(other) for other in self._shas() if other != sha and (self.path(other) / self._lock).exists()}
        if (folder / self._lock).exists() and (venv := self.venv(sha)) not in others:
            (venv / _COMPLETE).unlink(missing_ok=True)
            shutil.rmtree(venv, ignore_errors=True)
        gone = folder.with_name(f"{sha}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone)

    def _shas(self) -> list[str]:
        return [path.name for path in self.commits.path("").glob("*") if _SHA.fullmatch(path.name)]

    def _is_built(self, sha: str) -> bool:
        return (self.path(sha) / self._lock).exists() and (self.venv(sha) / _COMPLETE).exists()

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
