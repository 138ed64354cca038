"""Streams of bytes in bounded memory: hashing, zstd, age, and one source feeding several sinks at once.

A stream is an iterable of byte chunks. Whatever is used up lazily is closed with its generator, so that a source
that is a child process is ended when its reader gives up.
"""

from __future__ import annotations

import hashlib
import io
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, TypeVar, cast

from officeops.errors import OfficeOpsError, UsageError

CHUNK = 1 << 20
_QUEUED = 4  # chunks that wait for each reader: enough to keep both sides busy, a few MiB
Result = TypeVar("Result")


class DamagedError(OfficeOpsError):
    """What was read is not what was written: cut short, altered, or not of the format it claims."""


class WrongKeyError(OfficeOpsError):
    """The identity cannot decrypt what it was given."""


def read_chunks(reader: IO[bytes], size: int = CHUNK) -> Iterator[bytes]:
    """The bytes of `reader` to its end."""
    while chunk := reader.read(size):
        yield chunk


class Tally:
    """Counts and hashes what passes through. `bytes` and `sha256` are those of everything passed so far."""

    def __init__(self, progress: Callable[[int], None] = lambda _amount: None) -> None:
        self.bytes = 0
        self._hash = hashlib.sha256()
        self._progress = progress

    @property
    def sha256(self) -> str:
        """Hexadecimal digest."""
        return self._hash.hexdigest()

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks."""
        for chunk in chunks:
            self._hash.update(chunk)
            self.bytes += len(chunk)
            self._progress(len(chunk))
            yield chunk


def compress(chunks: Iterable[bytes], *, level: int, threads: int) -> Iterator[bytes]:
    """zstd frames with a checksum of the content, made by `threads` threads (0: none but this one)."""
    import zstandard

    compressor = zstandard.ZstdCompressor(level=level, threads=threads, write_checksum=True).compressobj()
    for chunk in chunks:
        if out := compressor.compress(chunk):
            yield out
    yield compressor.flush()


def decompress(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Undoes `compress`: all frames, however many. Raises DamagedError when one is damaged or ends early."""
    import zstandard

    decompressor = zstandard.ZstdDecompressor()
    frame = decompressor.decompressobj()
    try:
        for chunk in chunks:
            for piece in _pieces(chunk):
                rest = piece
                while rest:
                    if frame.eof:
                        frame = decompressor.decompressobj()
                    if out := frame.decompress(rest):
                        yield out
                    rest = frame.unused_data if frame.eof else b""
    except zstandard.ZstdError as error:
        raise DamagedError(f"The compressed data is damaged ({error}).") from error
    if not frame.eof:
        raise DamagedError("The compressed data ends too early.")


def _pieces(chunk: bytes, size: int = 1 << 10) -> Iterator[bytes]:
    """A decompressor returns all that its input expands to, and 4 bytes may be 128 KiB: small pieces keep that below 32 MiB."""
    view = memoryview(chunk)
    for start in range(0, len(view), size):
        yield bytes(view[start : start + size])


def encrypt(chunks: Iterable[bytes], recipients: Sequence[str]) -> Iterator[bytes]:
    """age encryption to `recipients` (age1... keys). Raises UsageError when one is no age key."""
    import pyrage

    try:
        keys = [pyrage.x25519.Recipient.from_str(recipient) for recipient in recipients]
    except pyrage.RecipientError as error:
        raise UsageError(f"BACKUP_AGE_RECIPIENTS holds something that is no age key: {error}") from error
    return _transform(chunks, lambda reader, writer: pyrage.encrypt_io(reader, writer, keys))


def decrypt(chunks: Iterable[bytes], identity_file: Path) -> Iterator[bytes]:
    """Undoes `encrypt`.

    Raises UsageError when the file is no identity, WrongKeyError when it is another's, DamagedError when the data is damaged.
    """
    import pyrage

    identities = _identities(identity_file)

    def work(reader: BinaryIO, writer: BinaryIO) -> None:
        try:
            pyrage.decrypt_io(reader, writer, identities)
        except (pyrage.DecryptError, OSError) as error:
            if "No matching keys" in str(error):
                raise WrongKeyError(
                    f"The identity in {identity_file} cannot decrypt this backup.",
                    todo="Point BACKUP_AGE_IDENTITY_FILE at the secret key that belongs to one of its recipients.",
                ) from error
            raise DamagedError(f"The encrypted data is damaged or cut ({error}).") from error

    return _transform(chunks, work)


def _identities(path: Path) -> list[object]:
    import pyrage

    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except (OSError, UnicodeDecodeError, pyrage.IdentityError) as error:
        raise UsageError(f"{path} cannot be used as an age identity: {error}") from error
    if not found:
        raise UsageError(f"{path} holds no age identity.", todo="It should have a line that begins with AGE-SECRET-KEY-1.")
    return found


class _Stopped(Exception):  # noqa: N818 - not an error: the reader went away
    """The other side of a channel is gone."""


class Channel:
    """A bounded queue of chunks from one thread to another, which carries the end and the failure of either side."""

    def __init__(self, size: int = _QUEUED) -> None:
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(size)
        self._gone = threading.Event()

    def send(self, item: bytes | BaseException | None) -> None:
        """A chunk, a failure, or None for the end. Raises _Stopped when the reader is gone."""
        while not self._gone.is_set():
            try:
                self._queue.put(item, timeout=0.2)
                return
            except queue.Full:
                continue
        raise _Stopped

    def chunks(self) -> Iterator[bytes]:
        """What is sent, to the end; raises what was sent as a failure."""
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def leave(self) -> None:
        """The reader is gone: nothing sent will be read."""
        self._gone.set()


class _ChunkReader(io.RawIOBase):
    """A file-like view of a stream of chunks, for libraries that read."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._rest = iter(chunks), memoryview(b"")
        self._failure: BaseException | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        while not self._rest:
            chunk = self._next()
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _next(self) -> bytes | None:
        """A stream that failed is over, which a second reading must not take for its end."""
        if self._failure is not None:
            raise self._failure
        try:
            return next(self._chunks, None)
        except BaseException as error:
            self._failure = error
            raise


class _ChunkWriter(io.RawIOBase):
    """A file-like end of a channel, for libraries that write."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._channel.send(bytes(data))
        return len(data)


def as_reader(chunks: Iterable[bytes]) -> BinaryIO:
    """A file-like, sequential reader of a stream."""
    return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, _ChunkReader(chunks)), CHUNK))


def _transform(chunks: Iterable[bytes], work: Callable[[BinaryIO, BinaryIO], object]) -> Iterator[bytes]:
    """Runs a library that reads from one file and writes to another as a stage of a stream, in a thread of its own."""
    channel = Channel()
    failure: list[BaseException] = []

    def noting() -> Iterator[bytes]:
        """A library may wrap what its reader raises: keep the original."""
        try:
            yield from chunks
        except BaseException as error:
            failure.append(error)
            raise

    def run() -> None:
        try:
            writer = io.BufferedWriter(cast(io.RawIOBase, _ChunkWriter(channel)), CHUNK)
            work(as_reader(noting()), cast(BinaryIO, writer))
            writer.flush()
            channel.send(None)
        except _Stopped:
            return
        except BaseException as error:  # noqa: BLE001 - handed to the reader, whatever it is
            try:
                channel.send(failure[0] if failure else error)
            except _Stopped:
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield from channel.chunks()
    finally:
        channel.leave()


def ahead(chunks: Iterable[bytes]) -> Generator[bytes, None, None]:
    """The same chunks, made in a thread of their own, so that making them and using them take two cores."""
    channel = Channel()

    def run() -> None:
        with suppress(_Stopped):
            try:
                with closing(_generator(chunks)) as source:
                    for chunk in source:
                        channel.send(chunk)
                channel.send(None)
            except Exception as error:  # noqa: BLE001 - handed to the reader, whatever it is
                channel.send(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield from channel.chunks()
    finally:
        channel.leave()
        thread.join()


def tee(chunks: Iterable[bytes], look: Callable[[Iterator[bytes]], None]) -> Iterator[bytes]:
    """The same chunks, which `look` reads as well, to their end, in a thread of its own. What it raises is raised here."""
    channel = Channel()
    failure: list[BaseException] = []

    def run() -> None:
        try:
            look(channel.chunks())
        except BaseException as error:  # noqa: BLE001 - handed to the reader, whatever it is
            failure.append(error)
        finally:
            channel.leave()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        with suppress(_Stopped):
            for chunk in chunks:
                channel.send(chunk)
                yield chunk
            channel.send(None)
        thread.join()
        if failure:
            raise failure[0]
    finally:
        with suppress(_Stopped):
            channel.send(_Stopped())  # to one who still waits for more
        thread.join()


@dataclass(frozen=True)
class Failed:
    """A sink's failure, where its result would have been."""

    error: Exception


def broadcast(chunks: Iterable[bytes], sinks: Mapping[str, Callable[[Iterator[bytes]], Result]]) -> dict[str, Result | Failed]:
    """Feeds `chunks` to every sink at once, each in a thread of its own; the slowest sets the pace.

    A sink that fails does not stop the others: its Exception stands in the result as `Failed`. When the source fails, every
    sink's stream raises that failure (so that it publishes nothing) and it is raised here. Stops reading when no sink is left.
    """
    channels = {name: Channel() for name in sinks}
    results: dict[str, Result | Failed] = {}

    def consume(name: str) -> None:
        try:
            results[name] = sinks[name](channels[name].chunks())
        except Exception as error:  # noqa: BLE001 - each sink has an outcome of its own
            results[name] = Failed(error)
        finally:
            channels[name].leave()

    threads = [threading.Thread(target=consume, args=(name,), daemon=True) for name in sinks]
    for thread in threads:
        thread.start()
    try:
        with closing(_generator(chunks)) as source:
            for chunk in source:
                if not _send_to_all(channels, chunk):
                    break
        _send_to_all(channels, None)
    except BaseException as error:
        _send_to_all(channels, error)
        raise
    finally:
        for thread in threads:
            thread.join()
    return results


def _generator(chunks: Iterable[bytes]) -> Generator[bytes, None, None]:
    yield from chunks


def _send_to_all(channels: Mapping[str, Channel], item: bytes | BaseException | None) -> int:
    """Returns how many were still there to take it."""
    taken = 0
    for channel in channels.values():
        try:
            channel.send(item)
            taken += 1
        except _Stopped:
            continue
    return taken
