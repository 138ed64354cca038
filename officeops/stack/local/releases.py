"""Releases on the embedded stack: a commit's files, and a virtualenv keyed by its lock file."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from officeops.errors import UsageError
from officeops.process import Command, run
from officeops.stack.port import Release
from officeops.stack.releases import Commits

_COMPLETE = ".complete"
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
