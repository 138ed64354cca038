"""Releases on the embedded stack: a commit's files, and a virtualenv keyed by its lock file."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Collection
from importlib.metadata import distributions
from pathlib import Path

from officeops import files
from officeops.errors import OfficeOpsError, UsageError
from officeops.process import Command, run
from officeops.stack.local.programs import Places
from officeops.stack.port import Part, Release, commit_of, short
from officeops.stack.releases import Commits

_COMPLETE = ".complete"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
_INSTALL_S = 900.0
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Releases:
    """The releases of one repository, kept in `home/releases` and `home/venvs`."""

    def __init__(self, home: Path, repository: Path, lock: str, requirements: str | None = None) -> None:
        """requirements: what the lock file is compiled from, inside a release."""
        self.commits = Commits(home, repository)
        self._venvs, self._lock, self._requirements = home / "venvs", lock, requirements

    def build(self, ref: str) -> Release:
        """Makes the release of a commit, or finds the one that is there. Raises what `Commits.export` does, and OfficeOpsError when its
        packages cannot be installed."""
        release = self.commits.export(ref)
        self._install(self.path(release.sha))
        return release

    def rebuild(self, release: Release) -> None:
        """Files and packages as they should be. Packages are put over those that are there: processes that run keep what they have."""
        kept = self._own_lock(release.sha)
        self.commits.export_anew(release.sha)
        if kept is not None:
            (self.path(release.sha) / self._lock).write_bytes(kept)
        venv, lock = self.venv(release.sha), self.path(release.sha) / self._lock
        if not (venv / _COMPLETE).exists():
            self._install(self.path(release.sha))
            return
        self._uv("pip", "sync", "--quiet", "--reinstall", "--require-hashes", "--python", str(venv / "bin" / "python"), str(lock))

    def build_again(self, sha: str, number: int) -> tuple[Release, list[str]]:
        """A further release of a commit, with the newest packages that the application's ranges allow."""
        name, notes = f"{commit_of(sha)}-r{number}", []
        self.commits.export_anew(name)
        lock = self.path(name) / self._lock
        if self._requirements is None:
            notes.append("The packages stay as they are locked: the runbook has no application.requirements.")
        else:
            self._upgrade(self.path(name) / self._requirements, lock)
        before = self.path(sha) / self._lock
        if pins(lock.read_text(encoding="utf-8")) == pins(before.read_text(encoding="utf-8")):
            lock.write_bytes(before.read_bytes())  # so that it has the same virtualenv
        self._install(self.path(name))
        return self.commits.found(name), notes

    def contents(self, release: Release) -> Part:
        """Its packages; the system's are the host's."""
        venv = self.venv(release.sha)
        folders = [str(path) for path in venv.glob("lib/python*/site-packages")]
        return Part({}, {one.metadata["Name"]: one.version for one in distributions(path=folders)}, {}, files.size(venv))

    def unreferenced(self, needed: Collection[str]) -> dict[Path, bool]:
        """Every virtualenv that is here, and whether none of these releases has it."""
        used = {self.venv(sha) for sha in needed if (self.path(sha) / self._lock).exists()}
        return {path: path not in used for path in sorted(self._venvs.glob("*"))}

    def remove_venv(self, venv: Path) -> None:
        """It is gone; whoever is killed here leaves one that counts as incomplete."""
        (venv / _COMPLETE).unlink(missing_ok=True)
        shutil.rmtree(venv, ignore_errors=True)

    def path(self, sha: str) -> Path:
        """Where the release stands."""
        return self.commits.path(sha)

    def venv(self, sha: str) -> Path:
        """Its virtualenv: shared by all releases with the same lock and the same Python."""
        lock = self.path(sha) / self._lock
        try:
            key = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
        except FileNotFoundError as error:
            raise UsageError(f"The release {short(sha)} has no {self._lock}.", todo="Correct application.lock in runbook.yaml.") from error
        return self._venvs / key

    def places(self, release: Release) -> Places:
        """Where it stands, for the programs that run on it."""
        return Places(release.sha, self.path(release.sha), self.venv(release.sha), release.settings)

    def artifact(self, release: Release) -> dict[str, str]:
        """Its folder and its virtualenv. Raises OfficeOpsError when they are not there."""
        if not self._is_built(release.sha):
            raise OfficeOpsError(
                f"The release {short(release.sha)} is not built on this host (any more).",
                todo=f"Build it: `officeops up {commit_of(release.sha)[:10]}`.",
            )
        return {"folder": str(self.path(release.sha)), "virtualenv": str(self.venv(release.sha))}

    def built(self) -> list[Release]:
        """Those that are there, newest first."""
        found = [self.commits.found(sha) for sha in self.commits.names() if self._is_built(sha)]
        return sorted(found, key=lambda release: release.built_at, reverse=True)

    def discard(self, sha: str) -> None:
        """Its files are gone, and its virtualenv unless another release has the same. No error when they were."""
        folder = self.path(sha)
        if not folder.exists():
            return
        others = {self.venv(other) for other in self.commits.names() if other != sha and (self.path(other) / self._lock).exists()}
        if (folder / self._lock).exists() and (venv := self.venv(sha)) not in others:
            self.remove_venv(venv)
        self.commits.forget(sha)

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

    def _own_lock(self, sha: str) -> bytes | None:
        """The lock file of a rebuild, which is not its commit's."""
        lock = self.path(sha) / self._lock
        return lock.read_bytes() if sha != commit_of(sha) and lock.exists() else None

    def _upgrade(self, requirements: Path, lock: Path) -> None:
        self._uv(
            "pip", "compile", "--quiet", "--upgrade", "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url",
            "--python", sys.executable, str(requirements), "--output-file", str(lock),
        )  # fmt: skip

    def _uv(self, *arguments: str) -> None:
        # Where packages come from is this host's affair: a mirror, a proxy.
        ours = {key: value for key, value in os.environ.items() if key.startswith("UV_") or key.lower() in _PROXIES}
        run(Command((str(Path(sys.prefix) / "bin" / "uv"), *arguments), ours), timeout=_INSTALL_S)


def pins(lock: str) -> dict[str, str]:
    """The versions that a lock file has, by package."""
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in _PIN.findall(lock)}
