"""What a tar holds, entry by entry, read while it passes: the list by which a restored volume is proven equal.

As JSON Lines it lies beside the tar; docs/backup-format.md describes it for other programs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self, cast

from officeops.streams import CHUNK, DamagedError, as_reader, read_chunks, tee

Type = Literal["file", "folder", "symlink", "hardlink", "fifo", "device"]
_TYPES: dict[bytes, Type] = {
    tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hardlink", tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "device", tarfile.BLKTYPE: "device",
}  # fmt: skip
_ROOT = b"."


@dataclass(frozen=True, slots=True)
class Entry:
    """path: below the volume's folder, in whatever bytes; the folder itself is `.`. mode: permissions. mtime: whole seconds. size and
    sha256: of a file's content, holes included. target: of links; a hard link's is another path of the list. Of devices: kind and numbers."""

    path: bytes
    type: Type
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    target: bytes | None = None
    sha256: str | None = None

    def to_json(self) -> bytes:
        """A line."""
        found = {
            **_text("path", self.path), "type": self.type, "mode": f"{self.mode:04o}", "uid": self.uid, "gid": self.gid,
            "mtime": self.mtime, "size": self.size,
        }  # fmt: skip
        found |= _text("target", self.target) if self.target is not None else {}
        found |= {"sha256": self.sha256} if self.sha256 is not None else {}
        return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_json(cls, line: bytes) -> Self:
        """Raises DamagedError when it is no line of such a list."""
        try:
            raw = json.loads(line)
            path, target = _bytes("path", raw), _bytes("target", raw)
            if path is None:
                raise KeyError("path")
            numbers = {key: int(raw[key]) for key in ("uid", "gid", "mtime", "size")}
            return cls(path, raw["type"], int(raw["mode"], 8), target=target, sha256=raw.get("sha256"), **numbers)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"The list of a volume's entries is damaged ({type(error).__name__}: {error}).") from error


def _text(key: str, value: bytes) -> dict[str, str]:
    """JSON has text only; a name may be any bytes."""
    try:
        return {key: value.decode()}
    except UnicodeDecodeError:
        return {f"{key}_base64": base64.b64encode(value).decode()}


def _bytes(key: str, raw: dict[str, Any]) -> bytes | None:
    if key in raw:
        return str(raw[key]).encode()
    encoded = raw.get(f"{key}_base64")
    return None if encoded is None else base64.b64decode(encoded, validate=True)


def listed(chunks: Iterable[bytes]) -> Iterator[Entry]:
    """The entries of a list."""
    for line in as_reader(chunks):
        yield Entry.from_json(line)


def entries(chunks: Iterable[bytes]) -> Iterator[Entry]:
    """The entries of a tar, in its order, in bounded memory. Raises DamagedError when it is none, is cut, or goes on behind its end."""
    reader = as_reader(chunks)
    with _opened(reader) as archive:
        while member := _next(archive):
            yield _entry(archive, member)
        for chunk in read_chunks(cast(BinaryIO, archive.fileobj)):  # which has taken more from its reader than it needed
            if chunk.strip(b"\0"):
                raise DamagedError("The tar goes on behind its end.")


class Listing:
    """Lists a tar as it passes into the file `path`. What it counted, and the list's SHA-256, are there when the stream has ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = self.entries = self.bytes = 0
        self.digest = ""

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks. Raises DamagedError at the end of what is no whole tar."""
        return tee(chunks, self._look)

    def _look(self, chunks: Iterator[bytes]) -> None:
        self.files = self.entries = self.bytes = 0
        digest = hashlib.sha256()
        with self.path.open("wb") as file:
            for entry in entries(chunks):
                line = entry.to_json()
                digest.update(line)
                file.write(line)
                self.entries += 1
                self.files += entry.type in ("file", "hardlink")
                self.bytes += entry.size
        self.digest = digest.hexdigest()


def first(chunks: Iterable[bytes]) -> tarfile.TarInfo:
    """The header of the first entry of a tar, which need not be there to its end."""
    with _opened(as_reader(chunks)) as archive:
        member = _next(archive)
    if member is None:
        raise DamagedError("The tar is empty.")
    return member


class _Member(tarfile.TarInfo):
    """A header. tarfile takes a damaged one, and a tar that just stops, for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise DamagedError(f"The tar is damaged or cut ({error}).") from error


def _opened(reader: BinaryIO) -> tarfile.TarFile:
    try:
        return tarfile.open(
            fileobj=reader, mode="r|", bufsize=CHUNK, tarinfo=_Member, encoding="utf-8", errors="surrogateescape", format=tarfile.PAX_FORMAT
        )
    except tarfile.TarError as error:
        raise DamagedError(f"That is no tar ({error}).") from error


def _next(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        member = archive.next()
    except tarfile.TarError as error:
        raise DamagedError(f"The tar is damaged or cut ({error}).") from error
    cast(Any, archive).members.clear()  # else all of them stay in memory
    return member


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    path, target, digest, size = normal(member.name), None, None, 0
    kind = _TYPES.get(member.type, "file")
    if kind == "file":
        digest, size = _digest(archive, member), member.size
    elif kind == "symlink":
        target = _raw(member.linkname)
    elif kind == "hardlink":
        target = normal(member.linkname)
    elif kind == "device":
        target = f"{'c' if member.ischr() else 'b'} {member.devmajor}:{member.devminor}".encode()
    return Entry(path, kind, member.mode & 0o7777, member.uid, member.gid, _seconds(member), size, target, digest)


def _digest(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    digest, found = hashlib.sha256(), 0
    file = archive.extractfile(member)
    assert file is not None
    try:
        for chunk in read_chunks(file):
            digest.update(chunk)
            found += len(chunk)
    except tarfile.TarError as error:
        raise DamagedError(f"The tar is cut ({error}).") from error
    if found != member.size:
        raise DamagedError(f"The tar is cut: {found} of {member.size} bytes of {member.name!r} are there.")
    return digest.hexdigest()


def _seconds(member: tarfile.TarInfo) -> int:
    """Rounded down, without the detour by a floating-point number that may round up."""
    return int(Decimal(member.pax_headers.get("mtime", str(int(member.mtime)))).to_integral_value("ROUND_FLOOR"))


def normal(name: str) -> bytes:
    """A path without the `./` before it and the slash behind it."""
    return _raw(name).removeprefix(b"./").rstrip(b"/") or _ROOT


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
