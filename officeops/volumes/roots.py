"""A volume's own folder, as the first entry of its tar: given to tars that have none, and used to tell two contents apart."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from officeops.postgres import tools
from officeops.process import started
from officeops.streams import DamagedError, read_chunks
from officeops.volumes.entries import first

if TYPE_CHECKING:
    from officeops.stack.port import Stack

_TIMEOUT_S = 120.0
_PIECE = 4096
_PRIVATE = 0o700  # what PostgreSQL wants of its data directory


def with_root(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The tar of a data directory, which has no entry for the folder itself: with one in front, of the owner of what comes first.
    Without it the restored folder would be somebody else's, and the server would refuse to start from it."""
    stream = iter(chunks)
    head = next(stream, b"")
    if head:
        yield _root_for(head)
    yield from chain([head], stream)


def _root_for(head: bytes) -> bytes:
    try:
        member = tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        raise DamagedError(f"That is no tar ({error}).") from error
    root = tarfile.TarInfo("./")
    root.type, root.mode = tarfile.DIRTYPE, _PRIVATE
    root.uid, root.gid, root.mtime = member.uid, member.gid, member.mtime
    return root.tobuf(tarfile.USTAR_FORMAT)


def time_of(stack: Stack, volume: str) -> float:
    """When something was last added to or taken from the volume's folder."""
    return _root(stack, volume).mtime


def set_time(stack: Stack, volume: str, moment: int) -> None:
    """The volume's folder has another time, and everything else that it had."""
    root = _root(stack, volume)
    root.mtime = moment
    root.pax_headers = {key: value for key, value in root.pax_headers.items() if key != "mtime"}
    archive = root.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + bytes(2 * tarfile.BLOCKSIZE)
    tools.feed(stack.import_volume(volume), [archive], timeout=_TIMEOUT_S)


def _root(stack: Stack, volume: str) -> tarfile.TarInfo:
    """Read from the beginning of an export, which is then ended."""
    with started(stack.export_volume(volume), timeout=_TIMEOUT_S) as child:
        root = first(read_chunks(child.stdout, _PIECE))
    if root.name not in (".", "./"):
        raise DamagedError(f"The export of {volume} begins with {root.name!r}, not with the folder itself.")
    return root
