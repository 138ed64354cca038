"""How a backup's objects are encoded: compressed, then encrypted when there are recipients."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from officeops.backups.manifest import Codec
from officeops.errors import UsageError
from officeops.streams import DamagedError, compress, decompress, decrypt, encrypt

_GZIP = 31  # zlib's window bits for "with a gzip header"


def extension(codec: Codec) -> str:
    """What stands behind the name of an object: .zst, .gz, with .age when encrypted."""
    return {"zstd": ".zst", "gzip": ".gz"}[codec.compression] + (".age" if codec.encryption else "")


def encode(chunks: Iterable[bytes], codec: Codec, *, threads: int) -> Iterator[bytes]:
    """The stream as it is stored."""
    packed = compress(chunks, level=codec.level, threads=threads) if codec.compression == "zstd" else _gzip(chunks, codec.level)
    return encrypt(packed, codec.recipients) if codec.encryption else packed


def decode(chunks: Iterable[bytes], *, compression: str | None, encrypted: bool, identity: Path | None) -> Iterator[bytes]:
    """Undoes `encode`. compression: zstd, gzip or None. Raises UsageError when an identity is needed and there is none, DamagedError
    when the data is damaged or cut, WrongKeyError when the identity is another's."""
    if encrypted:
        if identity is None:
            raise UsageError(
                "This backup is encrypted, and no identity was given.",
                state="Nothing was changed.",
                todo="Set BACKUP_AGE_IDENTITY_FILE in .env to the file with the age secret key.",
            )
        chunks = decrypt(chunks, identity)
    if compression == "zstd":
        return decompress(chunks)
    return _gunzip(chunks) if compression == "gzip" else iter(chunks)


def _gzip(chunks: Iterable[bytes], level: int) -> Iterator[bytes]:
    compressor = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
    for chunk in chunks:
        if out := compressor.compress(chunk):
            yield out
    yield compressor.flush()


def _gunzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """All members of a gzip file, each with its checksum checked."""
    member = zlib.decompressobj(_GZIP)
    try:
        for chunk in chunks:
            while chunk:
                if member.eof:
                    member = zlib.decompressobj(_GZIP)
                yield from _inflate(member, chunk)
                chunk = member.unused_data
    except zlib.error as error:
        raise DamagedError(f"The gzip data is damaged ({error}).") from error
    if not member.eof:
        raise DamagedError("The gzip data ends too early.")


def _inflate(member: zlib._Decompress, chunk: bytes) -> Iterator[bytes]:
    """In pieces of at most 1 MiB, however much the chunk expands to."""
    out = member.decompress(chunk, 1 << 20)
    while out:
        yield out
        out = member.decompress(member.unconsumed_tail, 1 << 20) if member.unconsumed_tail else b""
