"""The store on a file system: objects are files, published by renaming."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Self

from officeops.errors import DiskFullError, OfficeOpsError, TransientError, UsageError
from officeops.store.port import ObjectExistsError, ObjectInfo, ObjectMissingError, check_key, is_key

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_INCOMING = ".incoming"
_BUFFER = 1 << 20
_PLACINGS = 100
_YOUNG_S = 60  # a writer opens its file a moment before it locks it
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY}


class FileStore:
    """Objects as files below `root`, readable by the owner only."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """file:PATH, absolute or relative to the working directory. Raises UsageError when there is no path."""
        path = url.removeprefix("file:")
        if path.startswith("//"):
            path = path.removeprefix("//")
        if not path:
            raise UsageError(f"{url!r} names no folder.", todo="Use file:PATH.")
        return cls(Path(path))

    @property
    def name(self) -> str:
        return f"file:{self.root}"

    def put(self, key: str, chunks: Iterable[bytes], *, estimate: int | None = None) -> ObjectInfo:  # noqa: ARG002 - part of the port
        path = self.root / check_key(key)
        with self._incoming() as (file, temporary):
            written = 0
            for chunk in chunks:  # what the source raises is its own, and not explained as ours
                with self._explained():
                    file.write(chunk)
                written += len(chunk)
            self._flush(file, written)
            self._place(path, lambda: temporary.rename(path))
        return self._published(path, key)

    def create(self, key: str, data: bytes) -> ObjectInfo:
        path = self.root / check_key(key)
        with self._incoming() as (file, temporary):
            with self._explained():
                file.write(data)
            self._flush(file, len(data))
            self._place(path, lambda: self._link(temporary, path, key))
        return self._published(path, key)

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        path = self.root / check_key(key)
        with self._explained(), self._missing(key):
            raw = _Reader(path, self._explained)
        with raw, io.BufferedReader(raw, _BUFFER) as file:
            yield file

    def stat(self, key: str) -> ObjectInfo:
        with self._explained(), self._missing(key):
            return self._info(self.root / check_key(key), key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._explained():
            yield from self._walk(self.root, "", prefix)

    def delete(self, key: str) -> None:
        path = self.root / check_key(key)
        with self._explained():
            with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
                path.unlink()
            self._remove_empty(path.parent)

    @contextmanager
    def _incoming(self) -> Iterator[tuple[IO[bytes], Path]]:
        """A temporary file that is gone after the block unless it was renamed. Its lock tells that its writer lives."""
        with self._explained():
            folder = self.root / _INCOMING
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.mkdir(exist_ok=True, mode=0o700)
            _sweep(folder)
            temporary = folder / secrets.token_hex(8)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        file = os.fdopen(descriptor, "wb", buffering=_BUFFER)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield file, temporary
        finally:
            with suppress(OSError):  # what counts was flushed and synchronised: on a full disk the rest must not hide what went wrong
                file.close()
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _link(self, temporary: Path, path: Path, key: str) -> None:
        """Fails when there is one, and never shows half a file."""
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise ObjectExistsError(f"{self.name}/{key} exists already.", state="It was left as it was.") from None

    def _place(self, path: Path, move: Callable[[], object]) -> None:
        """Moves into the folder of `path`, which somebody who deletes its last object may remove at any moment."""
        with self._explained():
            for left in reversed(range(_PLACINGS)):
                try:
                    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    move()
                    return
                except (FileNotFoundError, FileExistsError):  # mkdir says either when a folder comes and goes under its hands
                    if not left:
                        raise
                except BaseException:
                    self._remove_empty(path.parent)
                    raise

    def _flush(self, file: IO[bytes], written: int) -> None:
        with self._explained():
            file.flush()
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        if size != written:
            raise OfficeOpsError(f"{self.name}: {written} bytes were written and {size} arrived.", state="Nothing was published.")

    def _published(self, path: Path, key: str) -> ObjectInfo:
        with self._explained():
            for folder in (path.parent, *path.parent.relative_to(self.root).parents):
                _fsync_folder(self.root / folder)
        return self.stat(key)

    def _walk(self, folder: Path, key: str, prefix: str) -> Iterator[ObjectInfo]:
        """In order of key: a folder's name sorts with the slash that follows it. Folders that cannot hold `prefix` are not read."""
        try:
            names = sorted(os.scandir(folder), key=lambda entry: entry.name + ("/" if entry.is_dir(follow_symlinks=False) else ""))
        except FileNotFoundError:
            return
        for entry in names:
            child = f"{key}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                below = f"{child}/"
                if entry.name != _INCOMING and (below.startswith(prefix) or prefix.startswith(below)):
                    yield from self._walk(Path(entry.path), below, prefix)
            elif entry.is_file(follow_symlinks=False) and child.startswith(prefix) and is_key(child):
                with suppress(FileNotFoundError):  # deleted while we list
                    yield self._info(Path(entry.path), child)

    @staticmethod
    def _info(path: Path, key: str) -> ObjectInfo:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
        return ObjectInfo(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def _remove_empty(self, folder: Path) -> None:
        while folder != self.root and folder.is_relative_to(self.root):
            try:
                folder.rmdir()
            except OSError:
                return  # not empty, or gone already
            folder = folder.parent

    @contextmanager
    def _missing(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise ObjectMissingError(f"There is no {self.name}/{key}.") from error

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where, why = error.filename or self.root, error.strerror or str(error)
            if error.errno in _NO_SPACE:
                raise DiskFullError(
                    f"There is no space left in {self.root} ({why}).",
                    state="Nothing was published.",
                    todo="Free space there and try again.",
                ) from error
            if error.errno in _PASSING:
                raise TransientError(f"{self.name} does not work right now: {why} ({where}).") from error
            raise OfficeOpsError(
                f"{self.name} cannot be used: {why} ({where}, as user {os.geteuid()}).",
                state="Nothing was published.",
                todo="Give this user the right to write there, or change BACKUP_TARGETS in .env.",
            ) from error


class _Reader(io.FileIO):
    """A file whose reading failures are explained as the store's, and not those of whoever reads."""

    def __init__(self, path: Path, explained: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(path, "rb")
        self._explained = explained
        # What was just written would be read from memory, and prove nothing of the disk.
        os.posix_fadvise(self.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        with self._explained():
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with self._explained():
            return super().readall() or b""


def _sweep(folder: Path) -> None:
    """Removes temporary files whose writer is dead: nobody holds their lock."""
    for entry in os.scandir(folder):
        with suppress(OSError), open(entry.path, "rb") as file:
            if time.time() - entry.stat().st_mtime < _YOUNG_S:
                continue
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(entry.path)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
