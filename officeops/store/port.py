"""The store port: six methods, two adapters (`file`, `s3`), one conformance suite.

These comments are the specification; `tests/store/test_conformance.py` holds both adapters to it.
Keys are relative POSIX paths: parts of printable characters joined by "/", no empty part, no "." or "..", none that begins with ".incoming".
Parts have at most 255 bytes, keys at most 700. No key of a store may be a folder of another ("a" and "a/b").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol

from officeops.errors import OfficeOpsError, RefusedError, UsageError
from officeops.settings import Settings

_PART_BYTES = 255  # what file systems allow
_KEY_BYTES = 700  # S3 allows 1,024, the prefix of a target included


@dataclass(frozen=True)
class ObjectInfo:
    """A stored object: its key below the store's root, its size in bytes, when it was written (UTC)."""

    key: str
    bytes: int
    modified: datetime


class ObjectMissingError(OfficeOpsError):
    """There is no object of that key."""


class ObjectExistsError(RefusedError):
    """`create` found an object of that key already there; it was left as it was."""


class Store(Protocol):
    """A place that keeps objects.

    Errors: TransientError for what may pass (no answer, 5xx, throttling); DiskFullError when out of space; OfficeOpsError, final,
    for the rest (wrong key, no permission, no such bucket). Messages name the store, never a secret. Every method may be
    called again after any error, and from several threads.
    """

    @property
    def name(self) -> str:
        """The URL without secrets: how people and the ledger know this store."""
        ...

    def put(self, key: str, chunks: Iterable[bytes], *, estimate: int | None = None) -> ObjectInfo:
        """Stores the concatenation of `chunks` under `key`, replacing what was there, atomically: until this returns, readers see
        the old object or none. If `chunks` raises, nothing is published, what was sent is removed, and the exception passes through.
        On return the bytes are durable (file and folder fsynced; upload completed). Memory is bounded whatever the length.
        estimate: expected size in bytes, an upper bound where possible; only to choose part sizes."""
        ...

    def open(self, key: str) -> AbstractContextManager[BinaryIO]:
        """A sequential reader of the object's bytes. Reads that end early because the connection broke are resumed or raise
        TransientError; they never look like the end of the object. Raises ObjectMissingError."""
        ...

    def stat(self, key: str) -> ObjectInfo:
        """Raises ObjectMissingError."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All complete objects whose key starts with `prefix`, in order of key (by code point), however many.
        Unfinished uploads are not objects, and what other programs put there under names that are no keys is not ours."""
        ...

    def delete(self, key: str) -> None:
        """Removes the object, and what a killed writer left of it; no error when there is none."""
        ...

    def create(self, key: str, data: bytes) -> ObjectInfo:
        """Stores a small object only if `key` is free, atomically against other creators. Raises ObjectExistsError."""
        ...


def check_key(key: str) -> str:
    """`key` itself. Raises UsageError unless it is a relative path of printable characters with no empty part, "." or ".."."""
    if not is_key(key):
        raise UsageError(f"{key!r} is no key of an object.")
    return key


def is_key(key: str) -> bool:
    """Whether `key` may name an object."""
    if not key.isprintable() or len(key.encode()) > _KEY_BYTES:
        return False
    return all(
        part not in ("", ".", "..") and not part.startswith(".incoming") and len(part.encode()) <= _PART_BYTES for part in key.split("/")
    )


def open_store(url: str, settings: Settings) -> Store:
    """The store at `file:PATH` or `s3://BUCKET/PREFIX?endpoint=URL`. Opens lazily: nothing is touched or asked yet.

    Raises UsageError when `url` is neither.
    """
    scheme = url.split(":", 1)[0]
    if scheme == "file":
        from officeops.store.file import FileStore

        return FileStore.from_url(url)
    if scheme == "s3":
        from officeops.store.s3 import S3Store

        return S3Store.from_url(url, settings)
    raise UsageError(f"{url!r} is no place for backups.", todo="Use file:PATH or s3://BUCKET/PREFIX?endpoint=URL.")
