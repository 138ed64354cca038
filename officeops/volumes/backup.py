"""Making one backup of volumes: each as a tar and the list of its entries. A verb per step; each may be run again.

    with VolumeBackup.begin(site) as backup:
        for volume in backup.volumes:
            backup.stop_users(volume)       of a quiet volume: journalled, stopped
            backup.copy(volume)             read once for all targets, listed while it passes
            backup.start_users(volume)      as they were found
        backup.verify(target); backup.publish(target); backup.report()  as with every backup: officeops/backups/making.py

A file that changes while it is read is an error in a quiet volume: nobody should have been there. In others it is what was to be
expected of them, and no reason to have no backup: the copy is as good as any that can be had, and the manifest names the files.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from officeops.backups.making import BackupError, Making, TargetError, new_identifier
from officeops.backups.manifest import Codec, VolumeContent, VolumeManifest, list_object, tar_object
from officeops.backups.objects import put_away_unfinished
from officeops.errors import OfficeOpsError, RefusedError, UsageError
from officeops.postgres import tools
from officeops.process import CommandError, run, started
from officeops.stack.tar import CHANGED
from officeops.streams import read_chunks
from officeops.volumes.entries import Listing
from officeops.volumes.roots import with_root
from officeops.volumes.users import start_stopped, start_users, stop_users

if TYPE_CHECKING:
    from officeops.site import Site
    from officeops.stack.port import Volume

VolumeKind = Literal["volumes", "basebackup"]
_HEADERS = 1.1  # a tar is larger than what it holds


class VolumeBackup(Making[VolumeManifest]):
    """A backup of volumes in the making."""

    def __init__(self, site: Site, identifier: str, kind: VolumeKind, volumes: Sequence[Volume]) -> None:
        settings = site.config.settings
        encryption: Literal["age"] | None = "age" if settings.backup_age_recipients else None
        level = site.config.runbook.backups.level
        super().__init__(
            site, identifier, Codec(compression="zstd", level=level, encryption=encryption, recipients=settings.backup_age_recipients)
        )
        self.kind: VolumeKind = kind
        self._volumes = {volume.name: volume for volume in volumes}
        self._spool = site.home / "spool" / identifier
        self._open.callback(shutil.rmtree, self._spool, ignore_errors=True)
        self._listings: dict[str, Listing] = {}
        self._copied_at: dict[str, datetime] = {}
        self._stopped: dict[str, tuple[str, ...]] = {}
        self._changed: dict[str, tuple[str, ...]] = {}

    @classmethod
    def begin(cls, site: Site, *, kind: VolumeKind = "volumes", volumes: Sequence[str] = ()) -> VolumeBackup:
        """Journals a new backup of the named volumes (default: all that `kind` is for). The caller holds the stack's lock.

        Raises UsageError when there is no such volume, RefusedError for the database's, which is not copied while it runs."""
        start_stopped(site)
        put_away_unfinished(site)
        chosen = choose(site, kind, volumes)
        identifier = new_identifier(site)
        site.ledger.begin("backup", identifier, targets=list(site.targets), form=kind, volumes=[volume.name for volume in chosen])
        return cls(site, identifier, kind, chosen)

    def __exit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Services that still stand still are started. If that fails the operation stays open: the next command tries again."""
        self._cancelled.set()
        try:
            start_users(self._site, self.id)
        except OfficeOpsError:
            self._open.close()
            raise
        super().__exit__(type_, error, traceback)

    @property
    def volumes(self) -> tuple[str, ...]:
        """Names of what is backed up."""
        return tuple(self._volumes)

    @property
    def expected(self) -> set[str]:
        return {name for volume in self._volumes for name in (tar_object(volume), list_object(volume))}

    def quiet(self, volume: str) -> bool:
        """Whether the runbook wants its services stopped while it is copied."""
        named = self._site.config.runbook.volumes.get(volume)
        return self.kind == "volumes" and named is not None and named.quiet

    def stop_users(self, volume: str) -> None:
        """Stops the services that use a quiet volume and run."""
        if self.quiet(volume):
            self._stopped[volume] = stop_users(self._site, self.id, self._volumes[volume].services)

    def start_users(self, volume: str) -> None:
        """As they were found. Raises OfficeOpsError when one does not become healthy."""
        if self.quiet(volume):
            start_users(self._site, self.id)

    def copy(self, volume: str) -> None:
        """Its content and its list, to every target that has them not yet. Raises TargetError when targets fail."""
        failed: list[TargetError] = []
        try:
            self._store_tar(volume)
        except TargetError as error:
            failed.append(error)
        if any(tar_object(volume) in outcome.objects for outcome in self.outcomes.values()):
            try:
                self._store_list(volume)
            except TargetError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def _store_tar(self, volume: str) -> None:
        size = self._volumes[volume].bytes
        estimate = None if size is None else int(size * _HEADERS) + (1 << 20)
        self._store(tar_object(volume), f"{volume}.tar", lambda: self._read(volume), estimate=estimate)

    def _store_list(self, volume: str) -> None:
        path = self._listings[volume].path

        def lines() -> Iterator[bytes]:
            with path.open("rb") as file:
                yield from read_chunks(file)

        self._store(list_object(volume), f"{volume}.jsonl", lines, estimate=path.stat().st_size)

    def _read(self, volume: str) -> Iterator[bytes]:
        self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._copied_at[volume] = self._site.clock()
        listing = self._listings[volume] = Listing(self._spool / list_object(volume))
        return listing.through(self._base_backup() if self.kind == "basebackup" else self._exported(volume))

    def _base_backup(self) -> Iterator[bytes]:
        return with_root(tools.output(self._site.stack.base_backup(), timeout=self._timeout))

    def _exported(self, volume: str) -> Iterator[bytes]:
        with started(self._site.stack.export_volume(volume), timeout=self._timeout) as child:
            yield from read_chunks(child.stdout)
            try:
                status = child.wait(ok=(0,) if self.quiet(volume) else (0, CHANGED))
            except CommandError as error:
                if error.status == CHANGED:
                    raise _not_quiet(volume, error) from error
                raise
        self._changed[volume] = tuple(child.stderr.splitlines()) if status == CHANGED else ()

    def _described(self) -> VolumeManifest:
        if self._plain.keys() != self.expected:
            raise self._incomplete()
        content = {
            volume: VolumeContent(
                files=listing.files, entries=listing.entries, bytes=listing.bytes, digest=listing.digest, copied_at=self._copied_at[volume],
                stopped=self._stopped.get(volume, ()), changed=self._changed.get(volume, ()),
            )
            for volume, listing in self._listings.items()
        }  # fmt: skip
        return VolumeManifest(
            **self._common(),
            kind=self.kind,
            snapshot_at=min(self._copied_at.values()),
            client_version=self._client_version(),
            volumes=content,
        )

    def _client_version(self) -> str | None:
        return base_backup_version(self._site) if self.kind == "basebackup" else None


def base_backup_version(site: Site) -> str:
    """What pg_basebackup says of itself: the server's version."""
    return run(site.stack.tool(["pg_basebackup", "--version"]), timeout=30).stdout.decode().strip()


def choose(site: Site, kind: VolumeKind, names: Sequence[str]) -> list[Volume]:
    """The volumes of a backup, measured. Raises UsageError when one does not exist or there is none, RefusedError for a hot database."""
    there = {volume.name: volume for volume in site.stack.volumes(measure=True)}
    if unknown := [name for name in names if name not in there]:
        raise UsageError(
            f"There is no volume {unknown[0]!r}.",
            state="Nothing was begun.",
            todo=f"There are: {', '.join(there) or 'none'} (`officeops volumes`).",
        )
    if kind == "basebackup":
        return _of_the_server(there, names)
    known = site.config.runbook.volumes
    # By default not those that nobody uses: what a restore set aside is one.
    usual = [volume for volume in there.values() if not volume.database and (volume.services or volume.name in known)]
    chosen = [there[name] for name in dict.fromkeys(names)] or usual
    for volume in chosen:
        if volume.database and not (volume.name in known and known[volume.name].quiet):
            raise RefusedError(
                f"The volume {volume.name} holds the running database: its files change in an order that a copy does not see, "
                "and what is restored from one is damaged.",
                state="Nothing was begun.",
                todo="Use `officeops backup --kind basebackup`, which asks the server for a copy that it can start from.",
            )
    if not chosen:
        raise UsageError("There is no volume to back up.", state="Nothing was begun.", todo="Name volumes in runbook.yaml.")
    return chosen


def _of_the_server(there: Mapping[str, Volume], names: Sequence[str]) -> list[Volume]:
    found = [volume for volume in there.values() if volume.database][:1]
    if not found:
        raise UsageError(
            "No volume is known to hold the database server's data.", state="Nothing was begun.", todo="Name it in runbook.yaml, `volumes`."
        )
    if others := set(names) - {found[0].name}:
        raise UsageError(
            f"A base backup is of {found[0].name}, not of {', '.join(sorted(others))}.",
            state="Nothing was begun.",
            todo="`officeops backup --kind volumes` takes the others.",
        )
    return found


def _not_quiet(volume: str, error: CommandError) -> BackupError:
    return BackupError(
        f"The volume {volume} changed while it was copied, though its services stood still: {error.stderr}.",
        state="Nothing of it was published.",
        todo="Something else writes there: name it among the volume's services in runbook.yaml, or take `quiet` away.",
    )
