"""What every stack does with the application's repository: a commit found, its files exported, and which one runs written down."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from officeops import files
from officeops.errors import OfficeOpsError, UsageError
from officeops.process import Command, CommandError, run, started
from officeops.stack.port import Colour, Deployed, Release, commit_of

if TYPE_CHECKING:
    from officeops.runbook.model import Runbook

_UPGRADE = ("upgrade", "head")
NAME = re.compile(r"[0-9a-f]{40,64}(-r[0-9]+)?")  # of a release: its commit, and which rebuild of it
_UNFINISHED = (".new", ".fresh", ".gone")


class Commits:
    """The commits of one repository, exported to `home/releases`."""

    def __init__(self, home: Path, repository: Path) -> None:
        self._folder, self._repository = home / "releases", repository

    def export(self, ref: str) -> Release:
        """The files of a commit, exported or found as they were. What is not committed is not in it. ref: also a release's own name.

        Raises UsageError when there is no such commit, OfficeOpsError when it cannot be exported.
        """
        sha = ref if NAME.fullmatch(ref) and self.path(ref).exists() else self._name(ref)
        folder = self.path(sha)
        if not folder.exists():
            self._export(sha, folder)
        return self.found(sha)

    def export_anew(self, sha: str) -> None:
        """The files of a commit as the repository has them, in place of what is there. Raises what `export` does."""
        folder = self.path(sha)
        fresh, gone = folder.with_name(f"{sha}.fresh"), folder.with_name(f"{sha}.gone")
        for left in (fresh, gone):
            shutil.rmtree(left, ignore_errors=True)
        self._export(self._name(sha), fresh)
        if folder.exists():
            folder.rename(gone)
        fresh.rename(folder)
        shutil.rmtree(gone, ignore_errors=True)

    def found(self, sha: str) -> Release:
        """One that was exported."""
        return Release(sha, datetime.fromtimestamp(self.path(sha).stat().st_mtime, UTC))

    def names(self) -> list[str]:
        """Of all releases whose files are here."""
        return [path.name for path in self._folder.glob("*") if NAME.fullmatch(path.name)]

    def unfinished(self) -> list[Path]:
        """What a killed export or removal left."""
        return [path for path in self._folder.glob("*") if path.name.endswith(_UNFINISHED)]

    def forget(self, sha: str) -> None:
        """Its files are gone, all at once for who looks for them. No error when they were."""
        folder = self.path(sha)
        gone = folder.with_name(f"{sha}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        if folder.exists():
            folder.rename(gone)  # a folder of that name is a whole one
            shutil.rmtree(gone)
        self._time_file(sha).unlink(missing_ok=True)

    def uncommitted(self) -> int:
        """How many files of the working tree differ from the last commit."""
        return len(self._git("--no-optional-locks", "status", "--porcelain", "--untracked-files=all").splitlines())

    def committed_at(self, sha: str) -> datetime:
        """When the commit was made; of one that was exported without asking git, which may be gone when one goes back to it."""
        written = self._time_file(sha)
        if not written.exists():  # or exported before this was written down
            return datetime.fromisoformat(self._git("show", "--no-patch", "--format=%cI", commit_of(sha)))
        return datetime.fromisoformat(written.read_text(encoding="utf-8"))

    def path(self, sha: str) -> Path:
        """Where its files stand."""
        return self._folder / sha

    def _time_file(self, sha: str) -> Path:
        return self._folder / f"{sha}.committed"

    def _name(self, ref: str) -> str:
        """Of the release that `ref` means: a rebuild keeps its number."""
        found = NAME.fullmatch(ref)
        return self._resolve(commit_of(ref)) + (found[1] or "") if found else self._resolve(ref)

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
        unfinished = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        with started(self._git_command("archive", "--format=tar", commit_of(sha)), timeout=120) as child:
            try:
                with tarfile.open(fileobj=child.stdout, mode="r|") as archive:
                    _extract(archive, unfinished)
            except tarfile.TarError as error:
                child.stdout.read()
                child.wait()  # git's own words, if it failed, say more
                raise OfficeOpsError(
                    f"The commit {sha[:10]} cannot be exported: {error}.", state="Nothing was built.", todo="Correct it in the repository."
                ) from error
            child.wait()
        _flush(unfinished)
        made = self._git("show", "--no-patch", "--format=%cI", commit_of(sha))
        files.replace(self._time_file(sha), made.encode())
        unfinished.rename(folder)

    def _git(self, *arguments: str) -> str:
        return run(self._git_command(*arguments), timeout=60).stdout.decode().strip()

    def _git_command(self, *arguments: str) -> Command:
        # The repository may belong to another user than root, who runs this.
        return Command(("git", "-c", f"safe.directory={self._repository}", "-C", str(self._repository), *arguments))


def _extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Files, folders and links that stay inside. Raises TarError for anything else."""
    if hasattr(tarfile, "data_filter"):
        archive.extractall(folder, filter="data")
        return
    for member in archive:  # Python before 3.11.4, such as Debian 12's own
        target = folder / member.name
        leads_to = target.parent / member.linkname if member.issym() else target
        if not (member.isreg() or member.isdir() or member.issym()) or not leads_to.resolve().is_relative_to(folder.resolve()):
            raise tarfile.ExtractError(f"{member.name!r} leads out of it, or is neither a file nor a folder nor a link")
        member.mode, member.uid, member.gid = 0o755 if member.isdir() else member.mode & 0o755 | 0o600, os.getuid(), os.getgid()
        member.uname = member.gname = ""
        archive.extract(member, folder)


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
        found = json.loads((home / "release.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    # Written before there were colours, it has neither.
    return Deployed(found["sha"], datetime.fromisoformat(found["since"]), found.get("colour", "blue"), found.get("settings", {}))


def record(home: Path, deployed: Deployed) -> None:
    """Writes down which release takes requests. Durable when it returns; whoever is killed in it leaves what was there before. For our
    eyes only: a setting may be a secret."""
    written = {"sha": deployed.sha, "since": deployed.at.isoformat(), "colour": deployed.colour, "settings": dict(deployed.settings)}
    files.replace(home / "release.json", json.dumps(written).encode(), mode=0o600)


def taken_over(before: Deployed | None, release: Release, colour: Colour, now: datetime) -> Deployed:
    """What `up` writes down: `release` runs in `colour`. One that ran before keeps its time."""
    at = before.at if before is not None and before.sha == release.sha else now
    return Deployed(release.sha, at, colour, release.settings)


def with_arguments(command: Sequence[str], arguments: Sequence[str]) -> tuple[str, ...]:
    """A migration command of the runbook, which is one for `upgrade head`, with other arguments. Raises UsageError when it is none."""
    if tuple(command[-2:]) != _UPGRADE:
        raise UsageError(
            f"The runbook's migration command does not end with `upgrade head`: {' '.join(command)}.",
            state="Nothing was run.",
            todo="Have it end so in runbook.yaml; single revisions are asked for by replacing these two words.",
        )
    return (*command[:-2], *arguments)


def require_one_colour(runbook: Runbook, service: str) -> None:
    """Raises UsageError for a rolled service."""
    if runbook.services[service].rolled:
        raise UsageError(f"{service} is a rolled service: a release takes its place.", todo="Deploy, or `officeops log-audit --fix`.")
