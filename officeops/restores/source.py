"""What a restore is made from: a backup in a target, or a dump file made by this program, by hand or by another tool."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Generic, Literal, TypeVar

from officeops.backups.codec import decode
from officeops.backups.manifest import DatabaseManifest, Manifest, StoredObject, VolumeManifest, list_object, tar_object
from officeops.errors import DiskFullError, OfficeOpsError, UsageError
from officeops.progress import Meter
from officeops.store import Store
from officeops.streams import DamagedError, Tally, ahead, read_chunks

AnyManifest = TypeVar("AnyManifest", bound=Manifest)
Shape = Literal["custom", "sql"]
_AGE, _ZSTD, _GZIP, _CUSTOM, _TAR = b"age-encryption.org/v1", b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"PGDMP", b"ustar"
_TRAILER = b"PostgreSQL database dump complete"
_CLUSTER_TRAILER = b"PostgreSQL database cluster dump complete"
_RECONNECT = re.compile(rb"^\\(connect|c)\b", re.MULTILINE)
_TAIL = 4096
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class StoredBackup(Generic[AnyManifest]):
    """A backup in one target, whatever it holds."""

    store: Store
    manifest: AnyManifest
    identity: Path | None

    @property
    def label(self) -> str:
        """For people and the ledger."""
        return self.manifest.id

    def read(self, name: str) -> Iterator[bytes]:
        """The object of that name, decoded. Raises DamagedError at its end unless both checksums are the manifest's."""
        expected = self.manifest.objects[name]
        codec = self.manifest.codec
        stored, plain = Tally(), Tally()
        with self.store.open(expected.key) as reader:
            coded = stored.through(read_chunks(reader))
            decoded = decode(coded, compression=codec.compression, encrypted=codec.encryption is not None, identity=self.identity)
            with closing(ahead(decoded)) as ready:
                yield from plain.through(ready)
            for _ in coded:  # what a decoder did not need to see counts for the checksum all the same
                continue
        found = (stored.bytes, stored.sha256, plain.bytes, plain.sha256)
        if found != (expected.bytes, expected.sha256, expected.plain_bytes, expected.plain_sha256):
            raise _not_as_written(self.store, expected)


@dataclass(frozen=True)
class BackupSource(StoredBackup[DatabaseManifest]):
    """A backup of the database in one target."""

    @property
    def size(self) -> int:
        """Bytes of the dump when decoded."""
        return self.manifest.objects["database"].plain_bytes

    def chunks(self, name: str = "database") -> Iterator[bytes]:
        """The dump, or the roles (`globals`), decoded."""
        return self.read(name)


@dataclass(frozen=True)
class VolumeSource(StoredBackup[VolumeManifest]):
    """A backup of volumes in one target."""

    def tar(self, volume: str) -> Iterator[bytes]:
        """What was in a volume."""
        return self.read(tar_object(volume))

    def entries(self, volume: str) -> Iterator[bytes]:
        """The list of what was in it."""
        return self.read(list_object(volume))


def opened(store: Store, manifest: DatabaseManifest | VolumeManifest, identity: Path | None) -> BackupSource | VolumeSource:
    """The backup that `manifest` describes, as its kind has it."""
    if isinstance(manifest, VolumeManifest):
        return VolumeSource(store, manifest, identity)
    return BackupSource(store, manifest, identity)


@dataclass(frozen=True)
class FileSource:
    """A dump file: .sql, .dump, each compressed (.gz, .zst) and encrypted (.age) or not; told by content, not by name."""

    path: Path
    identity: Path | None
    manifest: None = None

    @property
    def label(self) -> str:
        """For people and the ledger."""
        return str(self.path)

    @property
    def size(self) -> int:
        """Bytes of the file: a lower bound of what it expands to."""
        return self.path.stat().st_size

    def chunks(self) -> Iterator[bytes]:
        """The file, decoded. Raises UsageError when it is no file, DamagedError when a checksum or an end is missing."""
        try:
            with self.path.open("rb") as reader:
                yield from _peeled(read_chunks(reader), self.identity)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read: {error.strerror}.", state="Nothing was changed.") from error


Source = BackupSource | FileSource


def _peeled(chunks: Iterable[bytes], identity: Path | None) -> Iterator[bytes]:
    """Undoes encryption and compression, layer by layer, as long as there is one."""
    stream = iter(chunks)
    while True:
        head = next(stream, b"")
        whole = chain([head], stream)
        if head.startswith(_AGE):
            stream = decode(whole, compression=None, encrypted=True, identity=identity)
        elif head.startswith(_ZSTD):
            stream = decode(whole, compression="zstd", encrypted=False, identity=None)
        elif head.startswith(_GZIP):
            stream = decode(whole, compression="gzip", encrypted=False, identity=None)
        else:
            return whole


@dataclass(frozen=True)
class Spool:
    """A dump, decoded, in a seekable file."""

    path: Path
    shape: Shape
    bytes: int


@contextmanager
def spooled(source: Source, folder: Path) -> Iterator[Spool]:
    """Decodes `source` into a file in `folder` for the block, checking all of it. Nothing is changed anywhere else.

    Raises DamagedError when it is damaged or incomplete, DiskFullError when there is no room, UsageError when it is no dump.
    """
    path = folder / "database"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        yield _spool(source, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _spool(source: Source, path: Path) -> Spool:
    meter = Meter("fetch", source.size, every=8 << 20)
    scan = _Scan(source.label)
    try:
        with path.open("wb") as file:
            os.chmod(path, 0o600)
            for chunk in source.chunks():
                scan.look(chunk)
                file.write(chunk)
                meter.add(len(chunk))
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise DiskFullError(
                f"There is no room for the decoded dump in {path.parent} ({error.strerror}).",
                state="The live database is untouched.",
                todo="Free space there, or set OFFICEOPS_HOME to a larger disk.",
            ) from error
        raise OfficeOpsError(f"The decoded dump could not be written to {path.parent}: {error.strerror}.") from error
    meter.finish()
    return Spool(path, scan.finish(), meter.done)


class _Scan:
    """Looks at a dump as it passes: what it is, whether it ends as it should, whether it would leave its database."""

    def __init__(self, label: str) -> None:
        self._label, self._head, self._tail, self._line = label, b"", b"", b""

    def look(self, chunk: bytes) -> None:
        if len(self._head) < 512:
            self._head = (self._head + chunk)[:512]
            if self._head.startswith(_CUSTOM):
                return
            if self._head[257:262] == _TAR:
                raise UsageError(f"{self._label} is a tar archive, which is not supported.", todo="Use `pg_dump -Fc` or a plain script.")
        if self._head.startswith(_CUSTOM):
            return
        seam = self._line + chunk
        if _RECONNECT.search(seam):
            raise UsageError(
                f"{self._label} connects to a database of its own choice (a \\connect line): it would not stay in the new one.",
                state="Nothing was changed.",
                todo="Use a dump of one database made without --create, not one of a whole cluster.",
            )
        self._line = seam[seam.rfind(b"\n") + 1 :][:64] if b"\n" in seam else seam[:64]
        self._tail = (self._tail + chunk)[-_TAIL:]

    def finish(self) -> Shape:
        if self._head.startswith(_CUSTOM):
            return "custom"
        if _TRAILER in self._tail:
            return "sql"
        if _CLUSTER_TRAILER in self._tail:
            raise UsageError(f"{self._label} is a dump of a whole cluster.", todo="Use a dump of one database.")
        if b"PostgreSQL database dump" in self._head:
            raise DamagedError(
                f"{self._label} is cut short: the line that ends every dump (“{_TRAILER.decode()}”) is missing.",
                state="Nothing was changed.",
                todo="Use another backup; this one lost its end.",
            )
        raise UsageError(
            f"{self._label} is no dump of PostgreSQL: neither a custom-format archive nor a script written by pg_dump.",
            state="Nothing was changed.",
        )


def _not_as_written(store: Store, expected: StoredObject) -> DamagedError:
    return DamagedError(
        f"{store.name}/{expected.key} is damaged: its checksum is not the manifest's.",
        state="What is live is untouched.",
        todo="Restore from another target or backup: `officeops backups` lists them.",
    )
