"""The manifest: it goes last and *is* the backup. Documented for other programs in docs/backup-format.md."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from officeops.errors import OfficeOpsError
from officeops.postgres.fingerprint import Fingerprint
from officeops.postgres.snapshot import DatabaseFacts

FORMAT: Literal["officeops-backup"] = "officeops-backup"
VERSION = 1
Kind = Literal["database", "sql"]


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


class Manifest(BaseModel):
    """A backup. Times are UTC; `snapshot_at` is the moment that the content is of."""

    model_config = ConfigDict(frozen=True)

    format: Literal["officeops-backup"] = FORMAT
    version: int = VERSION
    id: str
    stack: str
    kind: Kind
    started_at: datetime
    snapshot_at: datetime
    finished_at: datetime
    snapshot_lsn: str
    client_version: str
    database: DatabaseFacts
    release: str | None
    codec: Codec
    targets: tuple[str, ...]
    objects: dict[str, StoredObject]
    fingerprint: Fingerprint

    def to_json(self) -> bytes:
        """The same bytes for the same backup, always."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"

    @property
    def size(self) -> int:
        """Bytes that it takes in each target."""
        return sum(stored.bytes for stored in self.objects.values())


class ManifestError(OfficeOpsError):
    """A manifest that cannot be read or trusted."""


class NewerManifestError(ManifestError):
    """A manifest of a later version of this program."""


def parse(data: bytes, where: str) -> Manifest:
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
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise ManifestError(f"{where} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error


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
