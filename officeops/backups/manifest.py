"""The manifest: it goes last and *is* the backup. Documented for other programs in docs/backup-format.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from officeops.errors import OfficeOpsError
from officeops.postgres.fingerprint import Fingerprint
from officeops.postgres.snapshot import DatabaseFacts

FORMAT: Literal["officeops-backup"] = "officeops-backup"
VERSION = 2  # the newest that this program reads; a backup has the oldest version that can say what it holds
DATABASE_VERSION, VOLUMES_VERSION = 1, 2
Kind = Literal["database", "sql", "volumes", "basebackup"]
DATABASE_KINDS = ("database", "sql")  # restored beside the live database
VOLUME_KINDS = ("volumes", "basebackup")  # restored into new volumes


class StoredObject(BaseModel):
    """One object of a backup: where it is below the target's root, and what it must be, stored and decoded."""

    model_config = ConfigDict(frozen=True)

    key: str
    bytes: int
    sha256: str
    plain_bytes: int
    plain_sha256: str


class Codec(BaseModel):
    """How objects were encoded. encryption age: `recipients` are the public keys."""

    model_config = ConfigDict(frozen=True)

    compression: Literal["zstd", "gzip"]
    level: int
    encryption: Literal["age"] | None
    recipients: tuple[str, ...]


class VolumeContent(BaseModel):
    """What a volume held. files: regular files, each name of a hard-linked one; bytes: of their contents, holes included. entries: those and
    all else (folders, links ...), which is how many lines its list has. digest: SHA-256 of the list. copied_at: when the copy began.
    stopped: services that stood still meanwhile. changed: what was said of files that changed while they were read."""

    model_config = ConfigDict(frozen=True)

    files: int
    entries: int
    bytes: int
    digest: str
    copied_at: datetime
    stopped: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


class Manifest(BaseModel):
    """A backup: what all kinds have in common. Times are UTC; `snapshot_at` is the moment that the content is of."""

    model_config = ConfigDict(frozen=True)

    format: Literal["officeops-backup"] = FORMAT
    version: int
    id: str
    stack: str
    kind: Kind
    started_at: datetime
    snapshot_at: datetime
    finished_at: datetime
    release: str | None
    codec: Codec
    targets: tuple[str, ...]
    objects: dict[str, StoredObject]

    def to_json(self) -> bytes:
        """The same bytes for the same backup, always."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"

    @property
    def size(self) -> int:
        """Bytes that it takes in each target."""
        return sum(stored.bytes for stored in self.objects.values())


class DatabaseManifest(Manifest):
    """A backup of the database: a dump, the roles, and what the content must be after a restore."""

    version: int = DATABASE_VERSION
    kind: Literal["database", "sql"]
    snapshot_lsn: str
    client_version: str
    database: DatabaseFacts
    fingerprint: Fingerprint


class VolumeManifest(Manifest):
    """A backup of volumes: for each a tar and the list of its entries. `basebackup`: of the database server's, by pg_basebackup.
    `snapshot_at` is when the first copy began: what was changed after it may be missing. client_version: pg_basebackup's."""

    version: int = VOLUMES_VERSION
    kind: Literal["volumes", "basebackup"]
    client_version: str | None
    volumes: dict[str, VolumeContent]


class ManifestError(OfficeOpsError):
    """A manifest that cannot be read or trusted."""


class NewerManifestError(ManifestError):
    """A manifest of a later version of this program."""


def parse(data: bytes, where: str) -> DatabaseManifest | VolumeManifest:
    """The manifest in `data`, found at `where`. Raises ManifestError when it is damaged, NewerManifestError when it is newer."""
    try:
        raw = json.loads(data)
        version = raw["version"] if raw["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{where} is no manifest of a backup ({type(error).__name__}: {error}).") from error
    if not isinstance(version, int):
        raise ManifestError(f"{where} is a manifest of something else than a backup.")
    if version > VERSION:
        raise NewerManifestError(
            f"{where} was written by a newer version of this program (manifest {version}; this one reads up to {VERSION}).",
            state="Nothing was changed.",
            todo="Update smart-office-ops and try again.",
        )
    try:
        return of(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise ManifestError(f"{where} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error


def of(raw: Mapping[str, Any]) -> DatabaseManifest | VolumeManifest:
    """The manifest that was read as JSON, as its kind has it. Raises ValidationError."""
    return (VolumeManifest if raw.get("kind") in VOLUME_KINDS else DatabaseManifest).model_validate(raw)


def tar_object(volume: str) -> str:
    """Name of the object with a volume's content."""
    return f"{volume}.tar"


def list_object(volume: str) -> str:
    """Name of the object with the list of a volume's entries."""
    return f"{volume}.jsonl"


def backups_prefix(stack: str) -> str:
    """Where a stack's backups stand in a target."""
    return f"{stack}/backups/"


def folder(stack: str, backup: str) -> str:
    """Where one backup stands."""
    return f"{backups_prefix(stack)}{backup}/"


JOURNALLED_KEY = "key of "  # begins the facts of an operation that tell where it stores


def manifest_key(stack: str, backup: str) -> str:
    """Where its manifest stands."""
    return folder(stack, backup) + "manifest.json"


def drill_key(stack: str, backup: str, at: str) -> str:
    """Where the result of a drill stands. Colons of the time are left out: not every store likes them."""
    return f"{stack}/drills/{backup}/{at.replace(':', '')}.json"


def pin_key(stack: str, backup: str) -> str:
    """Where the pin of a backup stands."""
    return f"{stack}/pins/{backup}"
